"""More epochs: networks whose losses were still falling when their training ended."""

from dataclasses import replace

from affinity.training import TrainingSettings

from .context import DiagnosisContext
from .intervention import Intervention

EPOCHS_FACTOR = 3
"""Multiple of the epochs, and of the patience, of a longer training."""


def with_more_epochs(settings: TrainingSettings) -> TrainingSettings:
    """The settings with `EPOCHS_FACTOR` times the epochs and the patience.

    Example:
        >>> with_more_epochs(TrainingSettings(epochs=40, patience=5)).patience
        15
    """
    return replace(
        settings,
        epochs=EPOCHS_FACTOR * settings.epochs,
        patience=EPOCHS_FACTOR * settings.patience,
    )


def train_longer(context: DiagnosisContext) -> tuple[Intervention, str]:
    """The loss that longer training recovers (also of separate networks), and the evidence."""
    settings = with_more_epochs(context.problem.settings)
    joint = context.losses(context.plan, settings=settings)
    alone = context.losses(context.separate, settings=settings)
    intervention = context.intervention(
        f"{EPOCHS_FACTOR} times the epochs",
        f"train {EPOCHS_FACTOR} times as long (up to {settings.epochs} epochs, patience "
        f"{settings.patience})",
        joint,
        alone,
        passes=float(EPOCHS_FACTOR),
    )
    return intervention, (
        f"Trained {EPOCHS_FACTOR} times as long, with patience in proportion, the loss of the "
        f"shared network differs by {context.format_harm(joint)} from that of unchanged separate "
        f"networks, that of equally long trained separate networks by "
        f"{context.format_harm(alone)}; sharing then harms by {context.format_harm(joint, alone)}."
    )
