"""Traces side by side: measurements of one run in a row, or several runs as one trace."""

from collections.abc import Sequence
from dataclasses import fields, replace

import torch
from torch import Tensor

from affinity.errors import InputError

from .trace import Trace

_TASK_AXES = {
    "losses": (1,),
    "gramians": (1, 2),
    "lookahead_losses": (1, 2),
    "held_out_losses": (1,),
    "held_out_gramians": (1, 2),
    "held_out_lookahead_losses": (1, 2),
    "layer_gramians": (2, 3),
    "momentum_products": (1,),
}


def merge_traces(traces: Sequence[Trace]) -> Trace:
    """Several runs, or several workers' parts of one study, as one trace.

    Tasks are matched by name. What one trace lacks is missing (NaN) at its times. `runs` tells
    which measurement is from which run.

    Raises:
        InputError: If the traces are of different tasks or layers.

    Example:
        >>> one = Trace(("a", "b"), torch.tensor([0]), torch.tensor([[1.0, 2.0]]))
        >>> other = Trace(("b", "a"), torch.tensor([0]), torch.tensor([[4.0, 3.0]]))
        >>> merged = merge_traces([one, other])
        >>> merged.losses.tolist(), merged.runs.tolist()
        ([[1.0, 2.0], [3.0, 4.0]], [0, 1])
    """
    numbered: list[Trace] = []
    first = 0
    for trace in traces:
        runs = torch.zeros_like(trace.steps) if trace.runs is None else trace.runs
        numbered.append(replace(trace, runs=runs + first))
        first += int(runs.max()) + 1 if len(runs) else 1
    return concatenated(numbered)


def concatenated(traces: Sequence[Trace]) -> Trace:
    """One trace after another, as measurements of the same run."""
    if not traces:
        raise InputError("Expected at least one trace to merge, but got none.")
    tasks = traces[0].tasks
    known = {trace.layers for trace in traces if trace.layers is not None}
    if len(known) > 1:
        raise InputError(f"Expected traces of the same layers to merge, but got {sorted(known)}.")
    aligned = [_in_order(trace, tasks) for trace in traces]
    joined = {
        field.name: _joined([getattr(trace, field.name) for trace in aligned], aligned)
        for field in fields(Trace)
        if field.name not in {"tasks", "layers"}
    }
    return Trace(tasks=tasks, layers=next(iter(known), None), **joined)  # pyright: ignore[reportArgumentType]


def _in_order(trace: Trace, tasks: tuple[str, ...]) -> Trace:
    if trace.tasks == tasks:
        return trace
    if set(trace.tasks) != set(tasks):
        raise InputError(
            f"Expected traces of the same tasks to merge, but got {tasks} and {trace.tasks}."
        )
    order = torch.tensor([trace.tasks.index(task) for task in tasks])
    moved: dict[str, Tensor] = {}
    for name, axes in _TASK_AXES.items():
        value = getattr(trace, name)
        if value is not None:
            for axis in axes:
                value = value.index_select(axis, order)
            moved[name] = value
    return replace(trace, tasks=tasks, **moved)  # pyright: ignore[reportArgumentType]


def _joined(parts: Sequence[Tensor | None], traces: Sequence[Trace]) -> Tensor | None:
    some = next((part for part in parts if part is not None), None)
    if some is None:
        return None
    missing = torch.nan if some.is_floating_point() else 0
    return torch.cat(
        [
            some.new_full((len(trace), *some.shape[1:]), missing) if part is None else part
            for part, trace in zip(parts, traces, strict=True)
        ]
    )
