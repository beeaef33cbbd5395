"""Metrics by the names that scikit-learn gives them, in the units of the target."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from jaxtyping import Float
from torch import Tensor

from affinity.errors import InputError, check_choice

from .metrics import concordance_index

Output = Literal["binary", "classes", "regression", "positive", "ordinal", "censored", "vector"]
"""What a network predicts: a logit, a logit per class, a number, the logarithm of a number above 0,
a logit per threshold between levels, the logarithm of the rate of events, or several numbers."""
_Function = Callable[..., float]


def _sklearn(name: str) -> Callable[..., float]:
    """A function of `sklearn.metrics`, which is imported when it is called."""

    def call(*arguments: object, **options: object) -> float:
        from sklearn import metrics

        return getattr(metrics, name)(*arguments, **options)

    return call


@dataclass(frozen=True)
class _Entry:
    """A metric's function of truth and prediction, for each type of task that it is defined for.

    Predictions are probabilities of class 1 (binary), of all classes, or numbers. `power` is that
    of the target's unit in the metric's.
    """

    functions: dict[Output, _Function]
    higher_is_better: bool = True
    power: int = 0


def _chosen(function: Callable[..., float], **options: object) -> dict[Output, _Function]:
    """A metric of the likeliest class."""
    averaged = {"average": "macro"} if "average" in options else {}
    binary = {name: value for name, value in options.items() if name != "average"}

    def of_binary(truth: np.ndarray, p: np.ndarray, **weight: object) -> float:
        return function(truth, p > 0.5, **binary, **weight)

    def of_classes(truth: np.ndarray, p: np.ndarray, **weight: object) -> float:
        return function(truth, p.argmax(axis=1), **{**binary, **averaged}, **weight)

    return {"binary": of_binary, "classes": of_classes}


def _log_loss(truth: np.ndarray, p: np.ndarray, **options: object) -> float:
    n_classes = 2 if p.ndim == 1 else p.shape[1]
    return float(_sklearn("log_loss")(truth, p, labels=np.arange(n_classes), **options))


def _roc_auc_of_classes(
    truth: np.ndarray, p: np.ndarray, sample_weight: np.ndarray | None = None
) -> float:
    """The mean over the classes of each against the others."""
    areas = [
        _sklearn("roc_auc_score")(truth == each, p[:, each], sample_weight=sample_weight)
        for each in np.unique(truth).astype(int)
    ]
    return float(np.mean(areas))


def _max_error(truth: np.ndarray, predicted: np.ndarray, **_: object) -> float:
    """The largest error, whatever the weights of rows are."""
    return float(_sklearn("max_error")(truth, predicted))


def _number(function: Callable[..., float], power: int, **options: object) -> _Entry:
    each: _Function = partial(function, **options)
    return _Entry({"regression": each, "positive": each, "ordinal": each}, False, power)


METRICS: dict[str, _Entry] = {
    "roc_auc": _Entry({"binary": _sklearn("roc_auc_score"), "classes": _roc_auc_of_classes}),
    "average_precision": _Entry({"binary": _sklearn("average_precision_score")}),
    "accuracy": _Entry(_chosen(_sklearn("accuracy_score"))),
    "balanced_accuracy": _Entry(_chosen(_sklearn("balanced_accuracy_score"))),
    "f1": _Entry(_chosen(_sklearn("f1_score"), average="macro", zero_division=0)),
    "precision": _Entry(_chosen(_sklearn("precision_score"), average="macro", zero_division=0)),
    "recall": _Entry(_chosen(_sklearn("recall_score"), average="macro", zero_division=0)),
    "matthews_corrcoef": _Entry(_chosen(_sklearn("matthews_corrcoef"))),
    "log_loss": _Entry({"binary": _log_loss, "classes": _log_loss}, higher_is_better=False),
    "brier_score": _Entry({"binary": _sklearn("brier_score_loss")}, higher_is_better=False),
    "r2": _Entry({"regression": _sklearn("r2_score"), "positive": _sklearn("r2_score")}),
    "d2_poisson": _Entry({"positive": partial(_sklearn("d2_tweedie_score"), power=1)}),
    "quadratic_kappa": _Entry(
        {"ordinal": partial(_sklearn("cohen_kappa_score"), weights="quadratic")}
    ),
    "concordance_index": _Entry({"censored": concordance_index}),
    "mean_absolute_error": _number(_sklearn("mean_absolute_error"), 1),
    "mean_squared_error": _number(_sklearn("mean_squared_error"), 2),
    "root_mean_squared_error": _number(_sklearn("root_mean_squared_error"), 1),
    "median_absolute_error": _number(_sklearn("median_absolute_error"), 1),
    "max_error": _number(_max_error, 1),
    "mean_pinball_loss": _number(_sklearn("mean_pinball_loss"), 1),
}
"""Metrics by scikit-learn's names; the concordance index is this package's."""

NEED_VARIATION = {
    *("roc_auc", "average_precision", "r2", "matthews_corrcoef", "d2_poisson", "quadratic_kappa")
}
"""Metrics that are undefined where all labels are equal."""
ALIASES = {
    "auc": "roc_auc",
    "pr_auc": "average_precision",
    "brier": "brier_score",
    "f1_macro": "f1",
    "mae": "mean_absolute_error",
    "mse": "mean_squared_error",
    "rmse": "root_mean_squared_error",
    "mcc": "matthews_corrcoef",
    "quantile_loss": "mean_pinball_loss",
}


@dataclass(frozen=True)
class NamedMetric:
    """A metric of scikit-learn on a network's outputs; NaN where it is undefined.

    Args:
        name: A name in `METRICS`, or ``mean_pinball_loss:0.9`` for the quantile 0.9.
        output: What the network predicts: a logit, a logit per class, or a number.

    Example:
        >>> import torch
        >>> metric = NamedMetric.of("neg_mean_absolute_error", "regression", "depth")
        >>> metric(torch.tensor([[1.0], [3.0]]), torch.tensor([0.0, 1.0]))
        1.5
        >>> metric.higher_is_better, metric.power
        (False, 1)
    """

    name: str
    output: Output

    @classmethod
    def of(cls, name: str, output: Output, task: str) -> "NamedMetric":
        """The metric with this name; a scorer's prefix ``neg_`` is ignored.

        Raises:
            InputError: If there is no such metric, or it does not fit the task.
        """
        base, colon, quantile = cls._parts(name)
        fitting = [each for each, entry in METRICS.items() if output in entry.functions]
        check_choice(f"the metric of the {output} task {task!r}", base, fitting, "unknown-metric")
        cls.check_name(name, task)
        return cls(base + colon + quantile, output)

    @staticmethod
    def check_name(name: str, task: str) -> None:
        """Check that there is a metric with this name, for any type of task.

        Raises:
            InputError: If not, or a quantile is not between 0 and 1.
        """
        base, colon, quantile = NamedMetric._parts(name)
        check_choice(f"the metric of task {task!r}", base, METRICS, "unknown-metric")
        if colon:
            try:
                is_valid = base == "mean_pinball_loss" and 0 < float(quantile) < 1
            except ValueError:
                is_valid = False
            if not is_valid:
                raise InputError(
                    f"Expected a quantile between 0 and 1, such as quantile_loss:0.9, for task "
                    f"{task!r}, but got {name!r}.",
                    "unknown-metric",
                )

    @staticmethod
    def _parts(name: str) -> tuple[str, str, str]:
        base, colon, quantile = name.strip().lower().removeprefix("neg_").partition(":")
        return ALIASES.get(base, base), colon, quantile

    @property
    def higher_is_better(self) -> bool:
        """Whether a larger value is better."""
        return self._entry.higher_is_better

    @property
    def power(self) -> int:
        """The power of the target's unit in the metric: 1 for an absolute error, 0 for an AUC."""
        return self._entry.power

    @property
    def _entry(self) -> _Entry:
        return METRICS[self.name.partition(":")[0]]

    def __call__(
        self,
        prediction: Float[Tensor, "row output"],
        target: Float[Tensor, " row"],
        weight: Float[Tensor, " row"] | None = None,
    ) -> float:
        """The metric over the labelled rows, weighted where rows have weights."""
        labelled = ~target.isnan()
        truth, outputs = target[labelled].double(), prediction[labelled].double()
        if len(truth) == 0 or bool(outputs.isnan().any()):
            return math.nan
        varies = bool((truth != truth[0]).any())
        if not varies and self.name in NEED_VARIATION:
            return math.nan
        if self.output == "classes":
            predicted = outputs.softmax(dim=1)
        elif self.output == "ordinal":
            predicted = (outputs > 0).sum(dim=1)
        elif self.output == "positive":
            predicted = outputs[:, 0].clamp(max=30).exp()
        else:
            predicted = outputs[:, 0].sigmoid() if self.output == "binary" else outputs[:, 0]
        function = self._entry.functions[self.output]
        if quantile := self.name.partition(":")[2]:
            function = partial(_sklearn("mean_pinball_loss"), alpha=float(quantile))
        options = {} if weight is None else {"sample_weight": weight[labelled].cpu().numpy()}
        return float(function(truth.cpu().numpy(), predicted.cpu().numpy(), **options))
