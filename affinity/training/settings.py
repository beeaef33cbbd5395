"""How a network is trained."""

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, fields

import torch

from affinity.errors import check_choice, check_number

from .device import AUTO, check_device
from .objectives import OBJECTIVES, Objective, Sum
from .sampling import SAMPLINGS, JointBatches, Sampling, make_sampling

USUAL_EPOCHS = 25  # of a usual training, until its validation loss stops falling


@dataclass(frozen=True)
class TrainingSettings:
    """Adam with early stopping on the validation loss; the best state is kept.

    Args:
        epochs: Maximum passes over the training rows.
        batch_size: Rows per step.
        learning_rate: Step size of Adam.
        weight_decay: Decoupled weight decay (AdamW).
        patience: Epochs without a better validation loss before a network stops.
        schedule: ``constant``, or ``cosine``: the step size falls along half a cosine from its
            full value in the first epoch towards 0 after the last.
        average_weights: Whether an exponential average of the weights over about one epoch is also
            judged on the validation rows after each epoch; the better of the two is kept. In the
            first epoch it is the plain mean over the steps.
        objective: How the tasks' losses become one step.
        sampling: Which rows, of which tasks, make a batch.
        device: Where networks are trained: ``cpu``, ``cuda``, ``cuda:1``, ``mps``, or ``auto``, a
            CUDA GPU if there is one and otherwise the CPU. Rows and results stay on the CPU. It is
            not part of a training's identity: devices differ by rounding only, but for dropout
            masks.
        precision: ``bfloat16`` computes predictions of training steps with 8 bits of mantissa where
            that is safe (`torch.autocast`); parameters and what judges stay float32.

    Raises:
        InputError: If a setting is out of range, or this machine has no such device.

    Example:
        >>> from affinity.problems import load_digits
        >>> problem = load_digits().with_settings(TrainingSettings(epochs=50, patience=5))
        >>> problem.settings.epochs
        50
    """

    epochs: int = 100
    batch_size: int = 128
    learning_rate: float = 2e-3
    weight_decay: float = 0.0
    patience: int = 10
    schedule: str = "constant"
    average_weights: bool = False
    objective: Objective = field(default_factory=Sum)
    sampling: Sampling = field(default_factory=JointBatches)
    device: str = field(default=AUTO, repr=False)
    precision: str = field(default="float32", repr=False)

    def __post_init__(self) -> None:
        check_device(self.device)
        for name in ("epochs", "batch_size", "patience"):
            check_number(name, getattr(self, name), least=1)
        rate, decay = self.learning_rate, self.weight_decay
        check_number("learning_rate", rate, "invalid-learning-rate", above=0, below=math.inf)
        check_number("weight_decay", decay, "invalid-weight-decay", least=0, below=math.inf)
        check_choice("schedule", self.schedule, ("constant", "cosine"), "unknown-schedule")
        check_choice("precision", self.precision, ("float32", "bfloat16"), "unknown-precision")

    def autocast(self, device: torch.device) -> AbstractContextManager[object]:
        """The context of the predictions of training steps."""
        if self.precision == "float32":
            return nullcontext()
        return torch.autocast(device.type, torch.bfloat16)

    def to_dict(self) -> dict[str, bool | int | float | str]:
        """The settings as names and numbers: an objective and a sampling by the name of `--help`.

        Example:
            >>> TrainingSettings().to_dict()["objective"], TrainingSettings().to_dict()["sampling"]
            ('sum', 'joint')
        """
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        samplings = {name: make_sampling(name) for name in SAMPLINGS}
        return values | {
            "objective": _name_in(OBJECTIVES, self.objective),
            "sampling": _name_in(samplings, self.sampling),
        }

    def learning_rate_at(self, epoch: int) -> float:
        """The step size in an epoch, counted from 1.

        Example:
            >>> TrainingSettings(epochs=2, learning_rate=0.5, schedule="cosine").learning_rate_at(2)
            0.25
        """
        if self.schedule == "constant":
            return self.learning_rate
        return self.learning_rate * (1 + math.cos(math.pi * (epoch - 1) / self.epochs)) / 2


def _name_in(registry: Mapping[str, object], entry: object) -> str:
    """The name of an entry in a registry, or how it is written in Python if it has none there."""
    return next((name for name, known in registry.items() if known == entry), repr(entry))
