"""Recorder state: all that changes from one observation to the next and survives a resume."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, cast

from torch import Tensor

from affinity.errors import InputError, warn
from affinity.storage import flatten, unflatten

from .schedule import Timing
from .trace import Trace

VERSION = 3

SketchMethod = Literal["double backward", "forward mode", "none"]


@dataclass
class SearchState:
    """What the search for shared parameters knows.

    Args:
        shared: Names of the parameters that at least two tasks reach.
        owners: For each other parameter the task that reached each element, counted from 1; 0:
            none did.
        searched: The tasks whose gradients were searched.
        searches: Number of observations at which the search could continue.
    """

    shared: set[str] = field(default_factory=set[str])
    owners: dict[str, Tensor] = field(default_factory=dict[str, Tensor])
    searched: set[str] = field(default_factory=set[str])
    searches: int = 0


@dataclass
class RecorderState:
    """The state of a recorder between two observations.

    Args:
        random_state: Of the generator that draws the directions of sketches.
        tasks: Names of the tasks, once known.
        step: Number of observations so far.
        measurements: What was recorded, in parts that follow each other in time.
        timing: Time of the run and its measurements.
        sketch_method: The first method that the run's graphs allow; ``"none"``: no sketches.
        first_source: The next source, where measurements take turns.
        begun: Number of measurements begun since one was finished: above 0 while waiting for the
            next micro-batch.
        is_closure_exact: Whether the closure returns, bit for bit, the losses given to `observe`,
            so that they need not be evaluated again.
        has_factors: Whether factored gradients were cheaper when last checked.
        warned: Codes of warnings that are issued once per run.
        search: What the search for shared parameters knows.
    """

    random_state: Tensor
    tasks: tuple[str, ...] | None = None
    step: int = 0
    measurements: list[Trace] = field(default_factory=list[Trace])
    timing: Timing = field(default_factory=Timing)
    sketch_method: SketchMethod = "double backward"
    first_source: int = 0
    begun: int = 0
    is_closure_exact: bool = False
    has_factors: bool = True
    warned: list[str] = field(default_factory=list[str])
    search: SearchState = field(default_factory=SearchState)

    def warn_once(self, message: str, code: str) -> None:
        """Warn, once per run."""
        if code not in self.warned:
            self.warned.append(code)
            warn(message, code, stacklevel=6)

    def next_sources(self, tasks: tuple[str, ...], count: int) -> tuple[str, ...]:
        """The next `count` sources in turn.

        Example:
            >>> import torch
            >>> state = RecorderState(torch.empty(0))
            >>> state.next_sources(("a", "b", "c"), 2), state.next_sources(("a", "b", "c"), 2)
            (('a', 'b'), ('c', 'a'))
        """
        if count >= len(tasks):
            return tasks
        sources = (tasks * 2)[self.first_source : self.first_source + count]
        self.first_source = (self.first_source + count) % len(tasks)
        return sources

    def pack(self) -> dict[str, Tensor | str]:
        """Tensors and a JSON text, as ``torch.load(weights_only=True)`` and safetensors accept."""
        about, tensors = flatten(self)
        return {**tensors, "recorder": json.dumps({"version": VERSION, "state": about})}

    @classmethod
    def unpack(cls, state: Mapping[str, Tensor | str]) -> "RecorderState":
        """Read what `pack` wrote.

        Raises:
            InputError: If it is of another version.
        """
        tensors = {name: value.cpu() for name, value in state.items() if isinstance(value, Tensor)}
        content = json.loads(cast("str", state["recorder"]))
        if content["version"] != VERSION:
            raise InputError(
                f"Expected a recorder's state of version {VERSION}, but got version "
                f"{content['version']}: resume with the version of task-affinity that wrote it.",
                "other-version",
            )
        return unflatten(cls, content["state"], tensors)
