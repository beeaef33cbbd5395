"""Ranking metrics over groups of impressions: AUC, GAUC and NDCG."""

import math

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from torch import Tensor

from affinity.errors import InputError
from affinity.tasks import RocAuc


def check_rows(**columns: Tensor) -> None:
    """Check that tensors, named by what they hold, have one axis and the same rows."""
    for name, column in columns.items():
        if not isinstance(column, Tensor):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InputError(
                f"Expected a tensor as {name}, but got {type(column).__name__}: torch.as_tensor.",
                "not-a-tensor",
            )
    shapes = {name: tuple(column.shape) for name, column in columns.items()}
    if len(set(shapes.values())) > 1 or any(len(shape) != 1 for shape in shapes.values()):
        raise InputError(
            f"Expected tensors of one axis with the same rows, but got the shapes {shapes}.",
            "rows-differ",
        )


def auc(score: Float[Tensor, " row"], label: Float[Tensor, " row"]) -> float:
    """Area under the ROC curve; NaN labels are left out, and without both classes it is NaN.

    Raises:
        InputError: If rows differ, a score is NaN, or a label is neither 0 nor 1.

    Example:
        >>> import torch
        >>> auc(torch.tensor([0.1, 0.9]), torch.tensor([0.0, 1.0]))
        1.0
    """
    known = _known(score, label)
    _check_binary(known["label"])
    return RocAuc()(score[:, None], label)


def gauc(
    score: Float[Tensor, " row"], label: Float[Tensor, " row"], group: Int[Tensor, " row"]
) -> float:
    """AUC within each group (user), averaged with the group's number of impressions as weight.

    Groups without both classes have none, and are left out; NaN if no group has one.

    Raises:
        InputError: As `auc`.

    References:
        Zhou et al. (2018), `Deep Interest Network <https://arxiv.org/abs/1706.06978>`_, eq. 7.

    Example:
        >>> import torch
        >>> group = torch.tensor([1, 1, 2, 2, 2])
        >>> gauc(torch.tensor([0.1, 0.9, 0.9, 0.5, 0.1]), torch.tensor([0., 1., 0., 1., 1.]), group)
        0.4
    """
    rows = _known(score, label, group)
    _check_binary(rows["label"])
    rows["rank"] = rows.groupby("group")["score"].rank()
    rows["positive_rank"] = rows["rank"] * rows["label"]
    sums = rows.groupby("group").agg(
        count=("label", "size"), positive=("label", "sum"), ranks=("positive_rank", "sum")
    )
    pairs = sums["positive"] * (sums["count"] - sums["positive"])
    sums = sums[pairs > 0]
    if not len(sums):
        return math.nan
    above = sums["ranks"] - sums["positive"] * (sums["positive"] + 1) / 2
    return float(np.average(above / pairs[pairs > 0], weights=sums["count"]))


def ndcg(
    score: Float[Tensor, " row"],
    label: Float[Tensor, " row"],
    group: Int[Tensor, " row"],
    k: int | None = None,
) -> float:
    r"""Mean normalized discounted cumulative gain of the first k of each group.

    .. math:: \mathrm{DCG} = \sum_{r=1}^{k} \frac{y_{(r)}}{\log_2(1 + r)}

    The labels are the gains. Equal scores share the mean of their labels (scikit-learn averages
    over the orders of ties, too). Groups without a label above 0, or of a single impression, are
    left out.

    Raises:
        InputError: If rows differ, a score is NaN, or a label is below 0.

    Example:
        >>> import torch
        >>> group = torch.tensor([1, 1])
        >>> round(ndcg(torch.tensor([0.9, 0.1]), torch.tensor([0.0, 1.0]), group), 4)  # 1 / log2(3)
        0.6309
    """
    rows = _known(score, label, group)
    if (rows["label"] < 0).any():
        raise InputError(
            f"Expected labels of at least 0 as gains, but got {rows['label'].min()}.",
            "negative-gain",
        )
    sizes = rows.groupby("group")["label"].agg(["size", "max"])
    kept = sizes.index[(sizes["size"] > 1) & (sizes["max"] > 0)]
    rows = rows[rows["group"].isin(kept)]
    if not len(rows):
        return math.nan
    rows = rows.assign(gain=rows.groupby(["group", "score"])["label"].transform("mean"))

    def dcg(gains: str, order: str) -> pd.Series:
        ordered = rows.sort_values(["group", order], ascending=[True, False], kind="stable")
        rank = ordered.groupby("group").cumcount() + 1
        value = ordered[gains] / np.log2(1 + rank)
        return value.where(rank <= (k or math.inf), 0.0).groupby(ordered["group"]).sum()

    return float((dcg("gain", "score") / dcg("label", "label")).mean())


def _known(score: Tensor, label: Tensor, group: Tensor | None = None) -> pd.DataFrame:
    """The rows with a label; without a group, all are one."""
    check_rows(score=score, label=label, **({} if group is None else {"group": group}))
    known = ~label.isnan()
    if bool(score[known].isnan().any()):
        raise InputError("Expected a score for every row with a label, but some are NaN.",
                         "missing-score")  # fmt: skip
    return pd.DataFrame(
        {
            "score": score[known].double().numpy(),
            "label": label[known].double().numpy(),
            "group": 0 if group is None else group[known].numpy(),
        }
    )


def _check_binary(labels: pd.Series) -> None:
    if other := sorted(set(labels.unique().tolist()) - {0.0, 1.0}):
        raise InputError(f"Expected labels of 0 or 1, but got {other[:3]}.", "label-not-binary")
