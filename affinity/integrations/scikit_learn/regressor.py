"""Regression of several targets."""

from typing import Any

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score

from affinity.tasks import RSquared, SquaredError, Task

from .task_grouped import TaskGrouped


class TaskGroupedRegressor(RegressorMixin, TaskGrouped):
    """Regression of several targets, sharing networks if the audit shows a gain.

    `fit` holds out a fifth of the rows, records one multi-task run, races groupings of the targets,
    and audits the winner, separate networks and all-in-one on `replicates` resamplings. The
    networks of the advised candidate predict, averaged over the replicates. A single target is
    trained on its own, without an audit.

    Args:
        candidate: Which networks predict: what the audit advises, or always the plan, separate
            networks or all-in-one.
        budget: Maximum number of networks; any number if None.
        trainings: Maximum number of networks that the race trains; four per target if None.
        replicates: Number of splits and seeds; predictions are averaged over them.
        epochs: Maximum epochs.
        learning_rate: Step size of Adam.
        patience: Epochs without progress before stopping.
        every: Steps between affinity measurements.
        metrics: Metric of a target by name or number, such as ``{"price": "mae"}``.
        judge_by: Whether losses or metrics decide and judge: ``"loss"`` or ``"metric"``.
        task_weights: Weight of a target, by name or number, in the overall verdict and advice.
        reference: Whether the audit also trains gradient boosting for each target, on up to three
            replicates (`audit_.reference`); no model is begun that would not end within a minute.

    Attributes:
        audit_: The audit; None for a single target.
        candidate_: The candidate in use.
        target_names_: The tasks' names: the columns of `y`, if it is a frame.

    Example:
        >>> import numpy as np
        >>> X = np.random.default_rng(0).normal(size=(200, 3))
        >>> Y = np.column_stack([X[:, 0], X[:, 0] + X[:, 1], -X[:, 2]])
        >>> model = TaskGroupedRegressor(width=16, replicates=2, random_state=0).fit(X, Y)
        >>> model.predict(X).shape, model.score(X, Y) > 0.8
        ((200, 3), True)
    """

    def predict(self, X: Any) -> np.ndarray:  # noqa: N803
        """Predictions ``[row target]``, or ``[row]`` for a single target."""
        outputs = self._outputs(X)
        columns = [outputs[name][:, 0].numpy() for name in self.target_names_]
        return columns[0] if self.is_single_ else np.column_stack(columns)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:  # noqa: N803
        """R² of the labelled rows, averaged over the targets."""
        return self._mean_score(r2_score, X, y, sample_weight)

    def _tasks(
        self, targets: np.ndarray, is_used: np.ndarray
    ) -> tuple[tuple[Task, ...], np.ndarray]:
        tasks = tuple(Task(name, SquaredError(), RSquared()) for name in self.target_names_)
        return tasks, np.where(is_used[:, None], targets.astype(np.float64), np.nan)
