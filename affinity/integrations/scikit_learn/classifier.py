"""Classification of several targets."""

from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets

from affinity.errors import InputError
from affinity.tasks import Accuracy, CrossEntropy, Task

from .task_grouped import TaskGrouped


class TaskGroupedClassifier(ClassifierMixin, TaskGrouped):
    """Classification of several targets, sharing networks if the audit shows a gain.

    As `TaskGroupedRegressor`, with probabilities averaged over the replicates.

    Attributes:
        audit_: The audit; None for a single target.
        candidate_: The candidate in use.
        classes_: The classes; a list with one array per target if there are several.

    Example:
        >>> import numpy as np
        >>> X = np.random.default_rng(0).normal(size=(200, 3))
        >>> Y = np.where(X[:, :2] > 0, "high", "low")
        >>> model = TaskGroupedClassifier(width=16, replicates=2, random_state=0).fit(X, Y)
        >>> model.predict(X)[0].tolist() == Y[0].tolist(), model.score(X, Y) > 0.9
        (True, True)
    """

    def predict(self, X: Any) -> np.ndarray:  # noqa: N803
        """Classes ``[row target]``, or ``[row]`` for a single target."""
        probabilities = self.predict_proba(X)
        if self.is_single_:
            return self.classes_[probabilities.argmax(axis=1)]
        labels = [
            classes[each.argmax(axis=1)]
            for classes, each in zip(self.classes_, probabilities, strict=True)
        ]
        is_mixed = len({column.dtype.kind for column in labels}) > 1
        return np.column_stack([column.astype(object) if is_mixed else column for column in labels])

    def predict_proba(self, X: Any) -> Any:  # noqa: N803
        """Probabilities ``[row class]``; a list with one array per target if there are several."""
        outputs = self._outputs(X)
        each = [outputs[name].numpy() for name in self.target_names_]
        return each[0] if self.is_single_ else each

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:  # noqa: N803
        """Accuracy of the labelled rows, averaged over the targets."""
        return self._mean_score(_accuracy, X, y, sample_weight)

    def _tasks(
        self, targets: np.ndarray, is_used: np.ndarray
    ) -> tuple[tuple[Task, ...], np.ndarray]:
        classes_of: list[np.ndarray] = []
        numbers = np.full(targets.shape, np.nan)
        for column, name in enumerate(self.target_names_):
            is_known = is_used & ~pd.isna(targets[:, column])
            known = np.asarray(pd.Series(targets[is_known, column]).infer_objects())
            if known.dtype == object and all(isinstance(label, str) for label in known):
                known = known.astype(str)
            check_classification_targets(known)
            classes, numbers[is_known, column] = np.unique(known, return_inverse=True)
            if len(classes) < 2:
                raise InputError(
                    f"Expected at least two classes in {name!r}, but got one class: "
                    f"{classes.tolist()}.",
                    "constant-target",
                )
            classes_of.append(classes)
        self.classes_ = classes_of[0] if self.is_single_ else classes_of
        tasks = tuple(
            Task(name, CrossEntropy(), Accuracy(), n_outputs=len(classes))
            for name, classes in zip(self.target_names_, classes_of, strict=True)
        )
        return tasks, numbers


def _accuracy(truth: np.ndarray, predicted: np.ndarray, sample_weight: np.ndarray) -> float:
    return float(np.average(truth == predicted, weights=sample_weight))
