"""A recorder's state in a run's own checkpoint: tensors, and a JSON text."""

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, cast

from torch import Tensor

from affinity.errors import InputError

from .trace import Trace

VERSION = 1

State = dict[str, Tensor | str]


def packed(trace: Trace | None, generator: Tensor, about: Mapping[str, Any]) -> State:
    """As ``torch.save(weights_only=True)`` and safetensors can hold it.

    Args:
        trace: What was recorded so far.
        generator: State of a random generator.
        about: What else there is, as JSON can hold it.
    """
    arrays: dict[str, Tensor] = {}
    if trace is not None:
        values = {f"trace.{field.name}": getattr(trace, field.name) for field in fields(trace)}
        arrays = {name: value for name, value in values.items() if isinstance(value, Tensor)}
    layers = None if trace is None else trace.layers
    text = json.dumps({"version": VERSION, "layers": layers, **about})
    return {"generator": generator, **arrays, "recorder": text}


def unpacked(
    state: Mapping[str, Tensor | str],
) -> tuple[dict[str, Tensor], Tensor, dict[str, Any]]:
    """Arrays of the trace, the generator's state, and the rest.

    Raises:
        InputError: If the state is of a later version.
    """
    about = json.loads(cast("str", state["recorder"]))
    if about["version"] > VERSION:
        raise InputError(
            f"Expected a recorder's state of version {VERSION} or before, but got "
            f"version {about['version']}: update task-affinity to resume."
        )
    arrays = {
        name.removeprefix("trace."): cast("Tensor", value).cpu()
        for name, value in state.items()
        if name.startswith("trace.")
    }
    return arrays, cast("Tensor", state["generator"]).cpu(), about
