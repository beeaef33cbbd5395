"""The result of training one network."""

from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True, eq=False)
class TrainedNetwork:
    """One network trained on one replicate, judged at its best epoch.

    Args:
        training_loss: Each task's loss on the training rows, dropout off; NaN without labels.
        validation_loss: Each task's loss on the validation rows; NaN without labels.
        evaluation_loss: Each task's loss on the selection rows; NaN without labels or such rows.
        test_loss: Each task's loss on the test rows; NaN without labels.
        test_metric: Each task's metric on the test rows; NaN if it is undefined.
        best_epoch: The epoch, from 1, whose parameters were kept.
        best_epoch_of_task: The epoch whose parameters would have been kept for a task alone: where
            its own validation loss was lowest. The last one without labels.
        seconds: Time spent, a share of it where networks were trained together.
        state: The kept parameters and buffers, if requested.
        predictions: One prediction per test row for each task, if requested.
        diverged: Which task's loss became NaN or infinite and when; None if all went well.
        unbatched_reason: Why the network could not be trained together with others; None if it was.
        test_blocks: Each task's loss on each block of its test rows (`block_losses`), for intervals
            that hold for other test rows too.
        evaluation_metric: The metric on the selection rows of each task that is judged by it.
        metric_blocks: The same for blocks of test rows (`block_metrics`).
    """

    tasks: tuple[str, ...]
    replicate: int
    training_loss: dict[str, float]
    validation_loss: dict[str, float]
    evaluation_loss: dict[str, float]
    test_loss: dict[str, float]
    test_metric: dict[str, float]
    best_epoch: int
    best_epoch_of_task: dict[str, int]
    epochs: int
    seconds: float
    n_parameters: int
    state: dict[str, Tensor] | None = None
    predictions: dict[str, Tensor] | None = None
    diverged: str | None = None
    unbatched_reason: str | None = None
    test_blocks: dict[str, list[float]] = field(default_factory=dict[str, list[float]])
    evaluation_metric: dict[str, float] = field(default_factory=dict[str, float])
    metric_blocks: dict[str, list[float]] = field(default_factory=dict[str, list[float]])

    def is_unfinished(self, limit: int) -> bool:
        """Whether a limit on epochs ended the training while its validation loss was falling.

        That is, the best epoch is in the last quarter of the epochs, or the last of fewer than
        eight. A network that stopped by itself is finished, after however few epochs.
        """
        is_ended = self.diverged is None and self.epochs >= limit
        return is_ended and self.best_epoch > limit - max(1, limit // 4)
