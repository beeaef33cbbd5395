"""When to measure: every so many steps, within a window, or within a share of the run's time."""

import math
import time
from dataclasses import dataclass

from affinity.errors import InputError


@dataclass(frozen=True)
class Cost:
    """What recording cost so far.

    Args:
        measurements: How many were made.
        seconds: Time they took.
        plain_seconds: Time of the run without them, from the first observation on.
    """

    measurements: int
    seconds: float
    plain_seconds: float

    @property
    def overhead(self) -> float:
        """Time of the measurements as a share of the run's own time."""
        return self.seconds / self.plain_seconds if self.plain_seconds > 0 else math.nan


class Schedule:
    """Measure at `after`, then every so many steps, or as often as `overhead` allows.

    With `overhead`, the first measurement is made at once, since affinities change fastest at the
    start; then the run catches up until the next measurement fits into the allowed share.

    Args:
        every: Steps from one measurement to the next.
        after: The first step that is measured.
        until: The first step that is not any more.
        overhead: Allowed time of all measurements as a share of the run's own time; takes the
            place of `every`.

    Example:
        >>> schedule = Schedule(every=3, after=2, until=7)
        >>> [step for step in range(10) if schedule.is_due(step)]
        [2, 5]
    """

    def __init__(
        self, every: int, after: int = 0, until: int | None = None, overhead: float | None = None
    ) -> None:
        if every < 1:
            raise InputError(f"Expected every to be at least 1, but got {every}.")
        if after < 0 or (until is not None and until <= after):
            raise InputError(f"Expected 0 <= after < until, but got after={after}, until={until}.")
        if overhead is not None and overhead <= 0:
            raise InputError(
                f"Expected an overhead above 0 (0.05 is 5 % of the run), but got {overhead}."
            )
        self._every = every
        self._after = after
        self._until = until
        self._overhead = overhead
        self._next = after  # with `overhead`: when to look at the clock again
        self._clock = _Clock()
        self._costs: list[float] = []
        self._spent = 0.0  # for a measurement that is not done

    def is_due(self, step: int) -> bool:
        """Whether to measure at this step."""
        self._clock.start()
        if step < self._after or (self._until is not None and step >= self._until):
            return False
        if self._overhead is None:
            return (step - self._after) % self._every == 0
        return step >= self._next

    def fits(self, step: int, plain_seconds: float) -> bool:
        """Whether the next measurement fits into the allowed share; if not, when to ask again."""
        if self._overhead is None or not self._costs:
            return True
        typical = self._costs[1:] or self._costs  # the first one pays for warming up
        needed = (sum(self._costs, 0.0) + sum(typical) / len(typical)) / self._overhead
        if needed <= plain_seconds:
            return True
        done = max(step - self._after, 1)
        remaining = (needed - plain_seconds) * done / plain_seconds if plain_seconds > 0 else 1
        # Ask early: steps get faster once the run is warm.
        self._next = step + max(1, math.ceil(0.5 * remaining))
        return False

    def __len__(self) -> int:
        return len(self._costs)

    def measured(self, seconds: float, *, is_done: bool = True) -> None:
        """Book a measurement, or the part of one that is yet to be done."""
        self._spent += seconds
        if is_done:
            self._costs.append(self._spent)
            self._spent = 0.0

    @property
    def cost(self) -> Cost:
        """What was booked, against the run's own time."""
        spent = sum(self._costs, self._spent)
        return Cost(len(self._costs), spent, self._clock.seconds() - spent)

    def state_dict(self) -> dict[str, float | int | list[float]]:
        """What a resumed run needs to go on."""
        return {
            "next": self._next,
            "costs": list(self._costs),
            "elapsed": self._clock.seconds(),
        }

    def load_state_dict(self, state: dict[str, float | int | list[float]]) -> None:
        """Go on where `state_dict` was taken."""
        costs, following, elapsed = state["costs"], state["next"], state["elapsed"]
        assert isinstance(costs, list)
        assert isinstance(following, int)
        assert isinstance(elapsed, float)
        self._costs, self._next = list(costs), following
        self._clock = _Clock(elapsed)


class _Clock:
    """Seconds since the first start, over all parts of a resumed run."""

    def __init__(self, before: float = 0.0) -> None:
        self._before = before
        self._started: float | None = None

    def start(self) -> None:
        if self._started is None:
            self._started = time.perf_counter()

    def seconds(self) -> float:
        now = 0.0 if self._started is None else time.perf_counter() - self._started
        return self._before + now
