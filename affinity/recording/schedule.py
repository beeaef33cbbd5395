"""Schedule: at which steps to measure, by a period, a window or a share of the run's time."""

import math
import time
from dataclasses import dataclass, field

from affinity.errors import InputError, check_number, check_whole_number


@dataclass(frozen=True)
class RecordingCost:
    """What recording has cost so far.

    Args:
        measurements: Number of finished measurements.
        seconds: Time spent on measurements.
        plain_seconds: Time of the run without them, since the first observation.
    """

    measurements: int
    seconds: float
    plain_seconds: float

    @property
    def overhead(self) -> float:
        """Time of the measurements relative to the run's own time."""
        return self.seconds / self.plain_seconds if self.plain_seconds > 0 else math.nan


@dataclass
class Timing:
    """Time spent on a run and on its measurements, over all parts of a resumed run."""

    costs: list[float] = field(default_factory=list)  # seconds of each finished measurement
    unfinished: float = 0.0  # seconds of a measurement that is not finished
    elapsed: float = 0.0  # seconds before the last resume
    next_check: int = 0  # with an overhead: the step at which to check the time again
    _started: float | None = None

    def start(self) -> None:
        """Start the clock, if it is not running."""
        if self._started is None:
            self._started = time.perf_counter()

    def seconds(self) -> float:
        """Seconds since the first observation."""
        now = 0.0 if self._started is None else time.perf_counter() - self._started
        return self.elapsed + now

    def add(self, seconds: float, *, is_finished: bool = True) -> None:
        """Add the time of a measurement, or of a part of it."""
        self.unfinished += seconds
        if is_finished:
            self.costs.append(self.unfinished)
            self.unfinished = 0.0

    def cost(self) -> RecordingCost:
        """The measurements' time and the run's own."""
        spent = sum(self.costs, self.unfinished)
        return RecordingCost(len(self.costs), spent, self.seconds() - spent)


@dataclass(frozen=True)
class Schedule:
    """Measure at step `after`, then periodically, or as often as `overhead` allows.

    With `overhead`, the first measurement is made immediately, since affinities change fastest at
    the start; the next one follows when it fits into the allowed share of time.
    """

    every: int
    after: int = 0  # the first step that is measured
    until: int | None = None  # the first step that is no longer measured
    # time of measurements relative to the run's own; replaces `every`
    overhead: float | None = None

    def __post_init__(self) -> None:
        check_whole_number("every", self.every, 1, "out-of-range")
        for name in ("after", "until"):
            if (value := getattr(self, name)) is not None:
                check_whole_number(name, value, 0, "out-of-range")
        if self.after < 0 or (self.until is not None and self.until <= self.after):
            raise InputError(
                f"Expected 0 <= after < until, but got after={self.after}, until={self.until}.",
                "out-of-range",
            )
        check_number("overhead (0.05 is 5 % of the run's time)", self.overhead, above=0)

    def is_due(self, step: int, timing: Timing) -> bool:
        """Whether to measure at this step."""
        timing.start()
        if step < self.after or (self.until is not None and step >= self.until):
            return False
        if self.overhead is None:
            return (step - self.after) % self.every == 0
        return step >= timing.next_check

    def fits(self, step: int, timing: Timing, plain_seconds: float) -> bool:
        """Whether the next measurement fits into the allowed share; if not, set the next check."""
        if self.overhead is None or not timing.costs:
            return True
        typical = timing.costs[1:] or timing.costs  # the first one includes warming up
        needed = (sum(timing.costs, 0.0) + sum(typical) / len(typical)) / self.overhead
        if needed <= plain_seconds:
            return True
        done = max(step - self.after, 1)
        remaining = (needed - plain_seconds) * done / plain_seconds if plain_seconds > 0 else 1
        # Check early: steps become faster once the run is warm.
        timing.next_check = step + max(1, math.ceil(0.5 * remaining))
        return False
