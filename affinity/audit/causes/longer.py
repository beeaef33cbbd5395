"""Longer training: networks that were still getting better when their epochs were over."""

from dataclasses import replace

from affinity.training import TrainingSettings

from .context import DiagnosisContext
from .intervention import Intervention

LONGER = 3
"""Times the epochs, and the patience, of a longer training."""


def longer(settings: TrainingSettings) -> TrainingSettings:
    """The settings with `LONGER` times the epochs and the patience.

    Example:
        >>> longer(TrainingSettings(epochs=40, patience=5)).patience
        15
    """
    return replace(settings, epochs=LONGER * settings.epochs, patience=LONGER * settings.patience)


def trained_longer(case: DiagnosisContext) -> tuple[Intervention, str]:
    """What longer training recovers, that of separate networks too, and what was seen."""
    settings = longer(case.problem.settings)
    joint = case.losses(case.plan, settings=settings)
    alone = case.losses(case.separate, settings=settings)
    change = case.change(
        f"{LONGER} times the epochs",
        f"train {LONGER} times as long ({settings.epochs} epochs at most, patience "
        f"{settings.patience})",
        joint,
        alone,
        passes=float(LONGER),
    )
    return change, (
        f"Trained {LONGER} times as long, with as much more patience, the shared network's loss is "
        f"at {case.said(joint)} of today's separate ones, separate ones' own at "
        f"{case.said(alone)}; sharing then harms by {case.said(joint, alone)}."
    )
