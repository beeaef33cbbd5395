"""More epochs: networks whose losses were still falling when their training ended."""

from .context import DiagnosisContext
from .intervention import Intervention

EPOCHS_FACTOR = 3  # multiple of the epochs, and of the patience, of a longer training


def train_longer(context: DiagnosisContext) -> tuple[Intervention, str]:
    """The loss that longer training recovers (also of separate networks), and the evidence."""
    ((joint, alone),) = context.with_each("length", [EPOCHS_FACTOR])
    name, advice = f"{EPOCHS_FACTOR} times the length", f"train {EPOCHS_FACTOR} times as long"
    if context.own is not None:
        usual = context.own.problem.settings
        name = f"{EPOCHS_FACTOR} times the epochs"
        advice += (
            f" (up to {EPOCHS_FACTOR * usual.epochs} epochs, patience "
            f"{EPOCHS_FACTOR * usual.patience})"
        )
    change = context.intervention(name, advice, joint, alone, passes=float(EPOCHS_FACTOR))
    return change, (
        f"Trained {EPOCHS_FACTOR} times as long, with patience in proportion, the loss of the "
        f"shared network differs by {context.format_harm(joint)} from that of unchanged separate "
        f"networks, that of equally long trained separate networks by "
        f"{context.format_harm(alone)}; sharing then harms by {context.format_harm(joint, alone)}."
    )
