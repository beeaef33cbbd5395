"""A few-shot problem: tasks to learn from, to decide on and to be judged on; trunk and head."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import nn

from affinity.errors import InputError
from affinity.tasks import CrossEntropy, Task

from .episodes import Episodes
from .family import Family
from .network import Network
from .random_numbers import seeded
from .settings import MetaTraining

MOST_TASKS_A_BATCH = 32
"""Where no number was asked for."""


@dataclass(frozen=True, eq=False)
class FewShotProblem:
    """What is learned from meta-training tasks, and shown on meta-test tasks that nothing else saw.

    Args:
        name: What the problem is called in reports.
        training: Tasks to learn an initialization, an embedding or a pretrained network from.
        validation: Tasks for decisions: the step size of an adaptation, and between methods.
        test: Tasks that judge.
        trunk: Makes the module under the head; any module whose output is a representation.
        head: Makes a task's head on the trunk's output.
        shots: Support rows a task, or a class.
        queries: Query rows a task, or a class.
        steps: After how many gradient steps an adaptation is judged; the last one counts.
        inner_rate: Step size of the inner loop in meta-training.
        settings: How the outer loop is trained.

    Raises:
        InputError: If the families do not predict alike, have too few rows for the shots, or there
            are fewer meta-training tasks than a batch.
    """

    name: str
    training: Family
    validation: Family
    test: Family
    trunk: Callable[[], nn.Module]
    head: Callable[[Task], nn.Module]
    shots: int = 5
    queries: int = 15
    steps: tuple[int, ...] = (1, 5, 10)
    inner_rate: float = 0.1
    settings: MetaTraining = field(default_factory=MetaTraining)

    def __post_init__(self) -> None:
        if not self.steps or list(self.steps) != sorted({*self.steps}) or self.steps[0] < 1:
            raise InputError(f"Expected growing numbers of steps from 1 up, but got {self.steps}.")
        if not 0 < self.inner_rate < float("inf"):
            raise InputError(f"Expected an inner rate above 0, but got {self.inner_rate}.")
        for part in (self.validation, self.test):
            if part.task != self.training.task:
                raise InputError(
                    f"Expected meta-training and meta-test tasks that predict alike, but got "
                    f"{self.training.task} and {part.task}."
                )
        for part in (self.training, self.validation, self.test):
            part.check_shots(self.shots, self.queries)
        if self.training.n_tasks < self.batch:
            raise InputError(
                f"Expected at least as many meta-training tasks as a batch has, {self.batch}, but "
                f"there are {self.training.n_tasks:g}. Lower the batch (--batch "
                f"{self.training.n_tasks:g})."
            )

    @property
    def task(self) -> Task:
        """What every few-shot task predicts."""
        return self.training.task

    @property
    def batch(self) -> int:
        """Tasks a batch of meta-training."""
        return self.settings.batch or int(min(MOST_TASKS_A_BATCH, self.training.n_tasks))

    def draw_batch(self, generator: torch.Generator) -> Episodes:
        """A batch of meta-training tasks."""
        return self.training.draw(self.batch, self.shots, self.queries, generator)

    @property
    def has_classes(self) -> bool:
        """Whether tasks are classifications, judged by their accuracy; others by their loss."""
        return isinstance(self.task.loss, CrossEntropy)

    def with_shots(self, shots: int) -> "FewShotProblem":
        """The same problem with other shots."""
        return replace(self, shots=shots)

    def network(self, seed: int, task: Task | None = None) -> Network:
        """A fresh trunk and head; the same for the same seed."""
        with seeded(seed):
            return Network(self.trunk(), self.head(task or self.task))
