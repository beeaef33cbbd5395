"""Few-shot problem: meta-training, validation and meta-test tasks, with a trunk and head."""

from collections.abc import Callable
from dataclasses import InitVar, dataclass, field, replace
from math import inf

import torch
from torch import nn

from affinity.errors import InputError, check_number, check_same
from affinity.reading import DataNote
from affinity.tasks import CrossEntropy, Task
from affinity.training.device import find_device, use_seed

from .episodes import Episodes
from .family import Family
from .meta_training import MetaTraining
from .network import FewShotNetwork

DEFAULT_BATCH = 32


@dataclass(frozen=True, eq=False)
class FewShotProblem:
    """Methods learn from meta-training tasks and are evaluated on unseen meta-test tasks.

    Args:
        training: Meta-training tasks.
        validation: Tasks to choose step sizes and methods on.
        test: Meta-test tasks.
        trunk: Makes the trunk: any module whose output is a representation.
        head: Makes a task's head on the trunk's output.
        shots: Support rows per task, or per class.
        queries: Query rows per task, or per class.
        steps: Numbers of gradient steps after which an adaptation is evaluated; methods are
            compared after the last one.
        inner_rate: Step size of the inner loop in meta-training.
        notes: Remarks on the data; warnings among them are those of the result, too.
        device: Where networks are trained (`MetaTraining.device`); that of `settings` if None.

    Raises:
        InputError: If the families have different tasks, have too few rows for the shots, or there
            are fewer meta-training tasks than a batch.

    Example:
        >>> from affinity.fewshot import few_shot_digits
        >>> problem = few_shot_digits(ways=3, test_classes=["7", "8", "9"])
        >>> problem.test.classes, problem.with_shots(1).shots
        (('7', '8', '9'), 1)
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
    notes: tuple[DataNote, ...] = ()
    device: InitVar[str | None] = None

    def __post_init__(self, device: str | None) -> None:
        if device is not None:
            object.__setattr__(self, "settings", replace(self.settings, device=device))
        if not self.steps or list(self.steps) != sorted({*self.steps}) or self.steps[0] < 1:
            raise InputError(
                f"Expected increasing numbers of steps from 1 up, but got {self.steps}.",
                "invalid-steps",
            )
        check_number("inner_rate", self.inner_rate, "invalid-inner-rate", above=0, below=inf)
        for part in (self.validation, self.test):
            outputs = "outputs, loss and metric of meta-test tasks"
            check_same(outputs, part.task, self.training.task, "different-tasks")
        for part in (self.training, self.validation, self.test):
            part.check_shots(self.shots, self.queries)
        if self.training.n_tasks < self.batch:
            raise InputError(
                f"Expected at least {self.batch} meta-training tasks, the batch size, but got "
                f"{self.training.n_tasks:g}. Lower it: --batch {self.training.n_tasks:g}.",
                "batch-too-large",
            )

    @property
    def task(self) -> Task:
        """Loss, metric and outputs of every few-shot task."""
        return self.training.task

    @property
    def batch(self) -> int:
        """Tasks per batch of meta-training."""
        return self.settings.batch or int(min(DEFAULT_BATCH, self.training.n_tasks))

    def draw_batch(self, generator: torch.Generator) -> Episodes:
        """A batch of meta-training tasks, on the device of the networks."""
        batch = self.training.draw(self.batch, self.shots, self.queries, generator)
        return batch.to(find_device(self.settings.device))

    @property
    def has_classes(self) -> bool:
        """Whether tasks are classifications, evaluated by accuracy instead of loss."""
        return isinstance(self.task.loss, CrossEntropy)

    def with_shots(self, shots: int) -> "FewShotProblem":
        """The same problem with another number of shots."""
        return replace(self, shots=shots)

    def network(self, seed: int, task: Task | None = None) -> FewShotNetwork:
        """A randomly initialized trunk and head; the same for the same seed."""
        with use_seed(seed):
            network = FewShotNetwork(self.trunk(), self.head(task or self.task))
        return network.to(find_device(self.settings.device))
