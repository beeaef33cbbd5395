"""Task round: a measurement over consecutive observations whose batches lack some of the tasks."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from .gradients import Gradient

PATIENCE = 4  # a round ends at the latest after this many observations per task


@dataclass
class TaskRound:
    """Measures pairs of tasks across consecutive observations.

    A batch of one task holds no pair of tasks. So the gradient of each batch is kept, and the next
    batches, of other tasks, are measured against it: their gradients, and their losses after a
    step along it. The round ends when each ordered pair was measured, or after `PATIENCE`
    observations per task. In between, the parameters change by the run's own steps.
    """

    wanted: set[tuple[str, str]]  # ordered pairs (source, target) not measured yet
    left: int  # observations until the round ends
    kept: dict[str, Gradient] = field(default_factory=dict[str, Gradient])
    """The latest gradient of each task that was present."""
    measured: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    """Pairs that were wanted and are measured."""
    parameters: tuple[str, ...] = ()  # names of the parameters of the kept gradients

    @property
    def is_finished(self) -> bool:
        """Whether no pair is missing, or all observations are used."""
        return not self.wanted or self.left <= 0

    def gains(self, present: Collection[str]) -> bool:
        """Whether measuring a batch with these tasks adds a source or a pair."""
        is_new = any(task not in self.kept for task in present)
        return is_new or any((i, j) in self.wanted for i in self.kept for j in present)

    def add(self, gradients: Mapping[str, Gradient]) -> None:
        """Add the gradients of a batch that was measured."""
        self.kept.update(gradients)
        pairs = {(source, target) for source in self.kept for target in gradients}
        self.measured |= pairs & self.wanted
        self.wanted -= pairs
