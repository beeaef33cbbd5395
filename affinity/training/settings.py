"""How a network is trained."""

from dataclasses import dataclass

from affinity.errors import InputError


@dataclass(frozen=True)
class TrainingSettings:
    """Adam with early stopping on the validation loss; the best state is kept.

    Args:
        epochs: Passes over the training rows at most.
        batch_size: Rows a step.
        learning_rate: Step size of Adam.
        weight_decay: Decoupled weight decay (AdamW).
        patience: Epochs without a better validation loss before a network stops.

    Raises:
        InputError: If a setting is out of range.
    """

    epochs: int = 100
    batch_size: int = 128
    learning_rate: float = 2e-3
    weight_decay: float = 0.0
    patience: int = 10

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "patience"):
            if getattr(self, name) < 1:
                raise InputError(f"Expected {name} of at least 1, but got {getattr(self, name)}.")
        if not 0 < self.learning_rate < float("inf"):
            raise InputError(
                f"Expected a positive, finite learning_rate, but got {self.learning_rate}."
            )
        if not 0 <= self.weight_decay < float("inf"):
            raise InputError(f"Expected a weight_decay of at least 0, but got {self.weight_decay}.")
