"""Ranking metrics over groups of impressions: AUC, GAUC and NDCG."""

import math

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from torch import Tensor

from affinity.tasks import RocAuc


def auc(score: Float[Tensor, " row"], label: Float[Tensor, " row"]) -> float:
    """Area under the ROC curve; NaN labels are left out, and without both classes it is NaN.

    Example:
        >>> import torch
        >>> auc(torch.tensor([0.1, 0.9]), torch.tensor([0.0, 1.0]))
        1.0
    """
    return RocAuc()(score[:, None], label)


def gauc(
    score: Float[Tensor, " row"], label: Float[Tensor, " row"], group: Int[Tensor, " row"]
) -> float:
    """AUC within each group (user), averaged with the group's number of impressions as weight.

    Groups without both classes have none, and are left out; NaN if no group has one.

    References:
        Zhou et al. (2018), `Deep Interest Network <https://arxiv.org/abs/1706.06978>`_, eq. 7.

    Example:
        >>> import torch
        >>> group = torch.tensor([1, 1, 2, 2, 2])
        >>> gauc(torch.tensor([0.1, 0.9, 0.9, 0.5, 0.1]), torch.tensor([0., 1., 0., 1., 1.]), group)
        0.4
    """
    rows = _known(score, label, group)
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

    Example:
        >>> import torch
        >>> group = torch.tensor([1, 1])
        >>> round(ndcg(torch.tensor([0.9, 0.1]), torch.tensor([0.0, 1.0]), group), 4)  # 1 / log2(3)
        0.6309
    """
    rows = _known(score, label, group)
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


def _known(score: Tensor, label: Tensor, group: Tensor) -> pd.DataFrame:
    known = ~label.isnan()
    return pd.DataFrame(
        {
            "score": score[known].double().numpy(),
            "label": label[known].double().numpy(),
            "group": group[known].numpy(),
        }
    )
