"""What a recorded run leaves behind, with time as an axis."""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

from affinity.tasks import check_names


@dataclass(frozen=True, eq=False)
class Trace:
    """Measurements of one or more training runs, one entry of `time` a measurement.

    What was not measured is None; what was missing at a step (a task without a label in the
    batch, a NaN loss) is NaN. Rows are sources, columns are targets.

    Args:
        tasks: Names, in the order of every task axis.
        steps: Step of the run at which each measurement was made.
        losses: Loss of each task before the step.
        gramians: Inner products of the tasks' gradients on the shared parameters.
        lookahead_losses: Loss of the target after a step along the source's gradient alone.
        held_out_losses: Loss of each task on the held-out batch.
        held_out_gramians: Inner product of the source's gradient with the target's gradient on
            the held-out batch.
        held_out_lookahead_losses: Loss of the target on the held-out batch, after a step along
            the source's gradient.
        layers: Names of the layers, where their Gramians were asked for.
        layer_gramians: The Gramian a layer.
        learning_rates: Learning rate of the lookahead step.
    """

    tasks: tuple[str, ...]
    steps: Int[Tensor, " time"]
    losses: Float[Tensor, "time task"]
    gramians: Float[Tensor, "time task task"] | None = None
    lookahead_losses: Float[Tensor, "time task task"] | None = None
    held_out_losses: Float[Tensor, "time task"] | None = None
    held_out_gramians: Float[Tensor, "time task task"] | None = None
    held_out_lookahead_losses: Float[Tensor, "time task task"] | None = None
    layers: tuple[str, ...] | None = None
    layer_gramians: Float[Tensor, "time layer task task"] | None = None
    learning_rates: Float[Tensor, " time"] | None = None

    def __post_init__(self) -> None:
        check_names(self.tasks)

    def __len__(self) -> int:
        return len(self.steps)
