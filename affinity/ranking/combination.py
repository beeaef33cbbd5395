"""Combined score: one number per impression from predicted objectives, and what weights trade."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from affinity.errors import InputError, check_choice, check_known
from affinity.sharing import Cost

from .impressions import Impressions
from .metrics import auc, check_rows, gauc, ndcg

CombinationForm = Literal["product", "sum"]


@dataclass(frozen=True)
class CombinedScore:
    r"""The score by which candidates are ordered.

    .. math:: \prod_k p_k^{w_k} \qquad \text{or} \qquad \sum_k w_k p_k

    Args:
        weights: Weight of each objective; others do not count. A negative one is for what should
            be rare.
        form: A product of powers, or a sum.

    Raises:
        InputError: If there are no weights, one is not finite, or the form is unknown.

    Example:
        >>> score = CombinedScore({"click": 1.0, "like": 0.5})
        >>> score({"click": torch.tensor([0.5]), "like": torch.tensor([0.25])}).item()
        0.25
    """

    weights: Mapping[str, float]
    form: CombinationForm = "product"

    def __post_init__(self) -> None:
        if not self.weights or not np.isfinite(list(self.weights.values())).all():
            raise InputError(
                f"Expected a finite weight for at least one objective, but got {self.weights}.",
                "invalid-weight",
            )
        check_choice("the form", self.form, get_args(CombinationForm), "unknown-form")

    def __call__(self, predictions: Mapping[str, Float[Tensor, " row"]]) -> Float[Tensor, " row"]:
        """The score of each impression.

        Raises:
            InputError: If an objective has no predictions, or their rows differ.
        """
        check_known("weights of objectives", self.weights, predictions, "unknown-task")
        check_rows(**{name: predictions[name] for name in self.weights})
        if self.form == "sum":
            return torch.stack([w * predictions[name] for name, w in self.weights.items()]).sum(0)
        tiny = torch.finfo(torch.float32).tiny
        logarithms = [w * predictions[n].clamp(min=tiny).log() for n, w in self.weights.items()]
        return torch.stack(logarithms).sum(dim=0).exp()


@dataclass(frozen=True)
class WeightChoice:
    """One choice of weights, and the metric of each objective if it orders the rows."""

    score: CombinedScore
    values: Mapping[str, float]
    is_efficient: bool  # no other choice is as good everywhere and better somewhere


@dataclass(frozen=True)
class WeightFront:
    """All choices of weights that were compared.

    Args:
        choices: In the order given.
        cost: Of serving: the same for all, as one model predicts every objective.
    """

    metric: str
    choices: tuple[WeightChoice, ...]
    cost: Cost | None = None

    def frame(self) -> pd.DataFrame:
        """One row per choice: weights, values, whether it is efficient, and the cost."""
        rows = [
            {
                "form": choice.score.form,
                **{f"weight {name}": w for name, w in choice.score.weights.items()},
                **choice.values,
                "efficient": choice.is_efficient,
            }
            for choice in self.choices
        ]
        frame = pd.DataFrame(rows)
        if self.cost is not None:
            frame["parameters"], frame["multiply_adds"] = (
                self.cost.parameters,
                self.cost.multiply_adds,
            )
        return frame


def compare_weights(
    predictions: Mapping[str, Float[Tensor, " row"]],
    impressions: Impressions,
    scores: Iterable[CombinedScore],
    metric: Literal["ndcg", "gauc", "auc"] = "ndcg",
    cost: Cost | None = None,
) -> WeightFront:
    """How well each combined score orders impressions for each objective, and which are efficient.

    Choose weights on days before those that judge them.

    Args:
        impressions: The same rows, with labels.
        scores: The choices to compare.
        metric: ``"ndcg"`` and ``"gauc"`` within users, ``"auc"`` over all (binary objectives only).

    Raises:
        InputError: If there is no choice, or the metric is unknown.

    Example:
        >>> from .impressions import read_impressions
        >>> from .objective import RankingObjective
        >>> log = pd.DataFrame({"t": range(4), "user": [1] * 4, "click": [1., 1., 0., 0.],
        ...                     "like": [0., 1., 1., 0.]})
        >>> rows = read_impressions(
        ...     log, [RankingObjective("click"), RankingObjective("like")], time="t",
        ...     time_unit="s", user="user", identifiers=["t"])
        >>> exact = {"click": rows.labels[:, 0] + 0.1, "like": rows.labels[:, 1] + 0.1}
        >>> front = compare_weights(
        ...     exact, rows, [CombinedScore({"click": a, "like": 1 - a}) for a in (0.9, 0.5, 0.1)],
        ...     metric="gauc")
        >>> front.frame()["click"].tolist(), front.frame()["efficient"].tolist()
        ([1.0, 0.875, 0.75], [True, True, True])
    """
    scores = list(scores)
    if not scores:
        raise InputError("Expected at least one combined score, but got none.", "no-scores")
    check_choice("the metric", metric, ("ndcg", "gauc", "auc"), "unknown-metric")
    users = impressions.users
    table: list[dict[str, float]] = []
    for score in scores:
        combined, values = score(predictions), dict[str, float]()
        for place, objective in enumerate(impressions.objectives):
            label = impressions.labels[:, place]
            if metric == "ndcg":
                values[objective.name] = ndcg(combined, label, users)
            elif objective.is_binary:
                values[objective.name] = (
                    gauc(combined, label, users) if metric == "gauc" else auc(combined, label)
                )
        table.append(values)
    efficient = is_efficient(np.array([list(values.values()) for values in table]))
    choices = (
        WeightChoice(score, values, bool(is_best))
        for score, values, is_best in zip(scores, table, efficient, strict=True)
    )
    return WeightFront(metric, tuple(choices), cost)


def is_efficient(values: Float[np.ndarray, "choice objective"]) -> Bool[np.ndarray, " choice"]:
    """Whether no other choice is at least as good everywhere and better somewhere.

    Higher is better. Values that are missing for all choices do not count.
    """
    values = np.nan_to_num(values, nan=-np.inf)
    at_least = (values[:, None] >= values[None]).all(axis=2)  # better worse
    better = (values[:, None] > values[None]).any(axis=2)
    return np.asarray(~(at_least & better).any(axis=0))


def weight_grid(
    objectives: Sequence[str], steps: int = 4, form: CombinationForm = "product"
) -> list[CombinedScore]:
    """All weights that are multiples of 1 / `steps` and add up to 1.

    Raises:
        InputError: If there are no objectives, or `steps` is below 1.

    Example:
        >>> [dict(score.weights) for score in weight_grid(["click", "like"], steps=2)]
        [{'click': 0.0, 'like': 1.0}, {'click': 0.5, 'like': 0.5}, {'click': 1.0, 'like': 0.0}]
    """
    if not objectives or steps < 1:
        raise InputError(
            f"Expected an objective and at least one step, but got {list(objectives)} and {steps}.",
            "out-of-range",
        )

    def splits(total: int, parts: int) -> list[tuple[int, ...]]:
        if parts == 1:
            return [(total,)]
        return [(n, *rest) for n in range(total + 1) for rest in splits(total - n, parts - 1)]

    return [
        CombinedScore(
            {name: n / steps for name, n in zip(objectives, split, strict=True)}, form
        )
        for split in splits(steps, len(objectives))
    ]  # fmt: skip
