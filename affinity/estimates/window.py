"""Windows of time: which part of a run an estimate is made from."""

from typing import Literal

import torch

from affinity.errors import InputError
from affinity.recording import Trace

Window = Literal["early", "late"] | tuple[int, int | None]
"""The first or the last third of a run's measurements, or those from one step to before another."""

SHARE = 3


def within(trace: Trace, window: Window | None) -> Trace:
    """The measurements of one run that lie in the window; all of them without one.

    Affinity changes sign during training: near a joint optimum the gradients of related tasks
    cancel. A window tells early from late.

    Raises:
        InputError: If nothing was measured in the window.

    Example:
        >>> trace = Trace(("a",), torch.tensor([0, 10, 20, 30, 40, 50]), torch.ones(6, 1))
        >>> within(trace, "early").steps.tolist(), within(trace, (20, 40)).steps.tolist()
        ([0, 10], [20, 30])
    """
    if window is None:
        return trace
    if isinstance(window, str):
        count = max(1, len(trace) // SHARE)
        times = torch.arange(len(trace))
        return trace.at(times[:count] if window == "early" else times[-count:])
    first, end = window
    inside = trace.steps >= first
    if end is not None:
        inside &= trace.steps < end
    if not inside.any():
        measured = (int(trace.steps.min()), int(trace.steps.max())) if len(trace) else "none"
        raise InputError(
            f"Expected measurements from step {first} to before {end}, but the trace holds those "
            f"of steps {measured}.",
            "missing-in-trace",
        )
    return trace.at(inside.nonzero().squeeze(1))
