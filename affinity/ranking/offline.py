"""Offline comparison: would a ranker have done better than another, from lists in random order?"""

import math
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float, Int
from scipy import stats
from torch import Tensor

from affinity.errors import InputError, check_choice, check_number, warn
from affinity.statistics import VerdictName

from .clicks import positions_by_score
from .metrics import check_rows

OfflineEstimator = Literal["ips", "replay"]

FEWEST_USERS = 10
FEWEST_MATCHES = 30
LARGEST_Z = 4.0


@dataclass(frozen=True)
class OfflineComparison:
    """Rewards per position of two rankers, estimated on lists in random order.

    Args:
        estimator: How they were estimated.
        candidate: The candidate's mean reward per position.
        production: That of the ranker in production.
        gain: Difference relative to production.
        verdict: Beneficial, harmful, neutral (within the tolerance) or undecided, as where lists
            are not in random order.
        p_value: Of no difference.
        tolerance: Relative gains smaller than this do not matter.
        users: Number of users, over whom the interval is clustered.
        matches: Impressions at which the candidate's position is the logged one, and the same for
            production.
    """

    estimator: OfflineEstimator
    candidate: float
    production: float
    gain: float
    low: float
    high: float
    verdict: VerdictName
    p_value: float
    tolerance: float
    lists: int
    users: int
    matches: tuple[int, int]


def compare_rankers(
    candidate: Float[Tensor, " row"],
    production: Float[Tensor, " row"],
    reward: Float[Tensor, " row"],
    *,
    lists: Int[Tensor, " row"],
    positions: Int[Tensor, " row"],
    users: Int[Tensor, " row"],
    propensities: Float[Tensor, " row"] | None = None,
    top: int | None = None,
    estimator: OfflineEstimator = "ips",
    tolerance: float = 0.01,
    level: float = 0.95,
    seed: int = 0,
) -> OfflineComparison:
    r"""Compare two rankers on logged lists whose order was random.

    An impression counts for a ranker where the ranker would have placed it at the position at which
    it was shown, with its inverse propensity as weight. With :math:`k_i` the logged position,
    :math:`\pi(i)` the ranker's, and :math:`p_i` the probability of :math:`k_i`, 1 / n in a list of
    n in uniformly random order:

    .. math::
        w_i = \frac{1[\pi(i) = k_i]}{p_i}, \qquad
        V_\text{ips} = \frac{\sum_i w_i r_i}{\sum_\text{lists} \min(n, \text{top})}, \qquad
        V_\text{replay} = \frac{\sum_i w_i r_i}{\sum_i w_i}

    Both are means of rewards per position. ``"ips"`` is unbiased where what a user does at a
    position depends on the item and the position alone (not in a cascade); with ``top=1`` it is
    unbiased for the first position under any click model. ``"replay"`` normalizes the weights: a
    small bias, often less noise. Differences are paired, and the interval is clustered by user.

    Args:
        candidate: Scores of the new ranker.
        production: Scores of the ranker to beat.
        reward: What each impression gave, such as a click.
        lists: The list to which each impression belongs.
        positions: The logged position, from 1 to the length of the list.
        users: The user of each impression.
        propensities: Probability with which each impression was logged at its position, if it is
            not one over the length of its list.
        top: Count only the first positions.
        estimator: ``"ips"`` or ``"replay"``.
        tolerance: Relative gains smaller than this do not matter.
        level: Of the interval.
        seed: Orders equal scores.

    Raises:
        InputError: If positions are not those of whole lists, propensities are not probabilities,
            a score or reward is NaN, no impression matches, rows differ, or a number is out of
            range.

    References:
        Li et al. (2011), `Unbiased Offline Evaluation of Contextual-bandit-based News Article
        Recommendation Algorithms <https://arxiv.org/abs/1003.5956>`_ (replay); Li et al. (2018),
        `Offline Evaluation of Ranking Policies with Click Models
        <https://arxiv.org/abs/1804.10488>`_ (item-position weights); Swaminathan and Joachims
        (2015), The Self-Normalized Estimator for Counterfactual Learning.

    Example:
        >>> import torch
        >>> lists = torch.arange(400).repeat_interleave(2)
        >>> positions = torch.rand(400, 2, generator=torch.Generator().manual_seed(0)).argsort()
        >>> positions = positions.argsort().flatten() + 1
        >>> good = torch.tensor([1.0, 0.0]).repeat(400)  # of the first item of each list
        >>> result = compare_rankers(
        ...     good, -good, (good + 0.5) * (positions == 1), lists=lists, positions=positions,
        ...     users=lists // 4, top=1, estimator="replay")
        >>> result.candidate, result.production, result.verdict
        (1.5, 0.5, 'beneficial')
    """
    check_rows(
        candidate=candidate, production=production, reward=reward, lists=lists,
        positions=positions, users=users,
        **({} if propensities is None else {"propensities": propensities}),
    )  # fmt: skip
    _check(reward, lists, positions, propensities, estimator, top)
    check_number("tolerance", tolerance, least=0)
    check_number("level", level, above=0, below=1)
    _, place, sizes = lists.unique(return_inverse=True, return_counts=True)
    size = sizes[place]
    weight = size.double() if propensities is None else 1 / propensities.double()
    counted = positions <= (top or int(positions.max()))
    shown = counted.double().numpy()
    _, user = np.unique(users.numpy(), return_inverse=True)
    n_users = int(user.max()) + 1

    def by_user(values: np.ndarray) -> np.ndarray:
        return np.bincount(user, weights=values, minlength=n_users)

    values: list[float] = []
    influences: list[np.ndarray] = []
    matches: list[int] = []
    is_random = propensities is not None or _is_random(
        (candidate, production), positions, place, size
    )
    for scores in (candidate, production):
        is_match = (positions_by_score(scores, place, seed) == positions) & counted
        matches.append(int(is_match.sum()))
        if not matches[-1]:
            raise InputError(
                "Expected impressions at the positions at which a ranker would place them, but "
                "there are none: use more lists, or a smaller top.",
                "no-matches",
            )
        weights = (weight * is_match).numpy()
        rewards = by_user(weights * reward.double().numpy())
        totals = by_user(shown if estimator == "ips" else weights)
        value = rewards.sum() / totals.sum()
        values.append(float(value))
        influences.append((rewards - value * totals) / totals.sum())
    comparison = _conclude(
        estimator, values, influences, matches, len(sizes), tolerance=tolerance, level=level
    )
    return comparison if is_random else replace(comparison, verdict="undecided")


def _conclude(
    estimator: OfflineEstimator,
    values: list[float],
    influences: list[np.ndarray],
    matches: list[int],
    n_lists: int,
    *,
    tolerance: float,
    level: float,
) -> OfflineComparison:
    (new, old), n_users = values, len(influences[0])
    gain = new / old - 1 if old > 0 else math.nan
    low = high = p_value = math.nan
    verdict: VerdictName = "undecided"
    if n_users < FEWEST_USERS or min(matches) < FEWEST_MATCHES or not old > 0:
        warn(
            f"Too little to judge: {n_users} users, {min(matches)} matching impressions and a "
            f"reward of production of {old:.3g}. Expected at least {FEWEST_USERS}, "
            f"{FEWEST_MATCHES} and more than 0.",
            "too-few-to-judge",
        )
    else:
        factor = n_users / (n_users - 1)
        influence = (influences[0] - new / old * influences[1]) / old  # of the relative gain
        error = math.sqrt(factor * float(np.square(influence).sum()))
        if error > 0:
            quantile = float(stats.t.ppf(0.5 + level / 2, n_users - 1))
            low, high = gain - quantile * error, gain + quantile * error
            p_value = 2 * float(stats.t.sf(abs(gain) / error, n_users - 1))
            narrow = float(stats.t.ppf(level, n_users - 1)) * error  # two one-sided tests
        else:
            low, high, p_value, narrow = gain, gain, float(gain == 0), 0.0
        if -tolerance < gain - narrow and gain + narrow < tolerance:
            verdict = "neutral"
        elif low > 0 or high < 0:
            verdict = "beneficial" if gain > 0 else "harmful"
    return OfflineComparison(
        estimator,
        new,
        old,
        gain,
        low,
        high,
        verdict,
        p_value,
        tolerance,
        n_lists,
        n_users,
        (matches[0], matches[1]),
    )


def _check(
    reward: Tensor,
    lists: Tensor,
    positions: Tensor,
    propensities: Tensor | None,
    estimator: str,
    top: int | None,
) -> None:
    check_choice("the estimator", estimator, get_args(OfflineEstimator), "unknown-estimator")
    check_number("top", top, least=1)
    if not len(reward) or bool(reward.isnan().any()):
        raise InputError(
            "Expected a reward for every impression, but some are NaN, or there are none: leave "
            "out lists without labels.",
            "missing-reward",
        )
    order = np.lexsort((positions.numpy(), lists.numpy()))
    ordered = lists.numpy()[order]
    expected = np.arange(len(order)) - np.searchsorted(ordered, ordered) + 1
    if not np.array_equal(positions.numpy()[order], expected):
        raise InputError(
            "Expected the positions 1, 2, ... once in each list, but a list lacks one or has one "
            "twice: keep whole lists.",
            "incomplete-list",
        )
    if propensities is not None and not bool(((propensities > 0) & (propensities <= 1)).all()):
        raise InputError(
            "Expected propensities above 0 and at most 1: an impression that could not be "
            "logged at its position was not.",
            "invalid-propensity",
        )


def _is_random(
    rankers: tuple[Tensor, Tensor], positions: Tensor, place: Tensor, size: Tensor
) -> bool:
    """Whether positions within lists are unrelated to both rankers' scores; warns if not."""
    middle = (size + 1) / 2
    m = np.bincount(place.numpy())
    deviation = math.sqrt(((m * (m + 1) / 12.0) ** 2 * (m - 1)).sum())  # in random order
    largest = 0.0
    for scores in rankers:
        ranks = positions_by_score(scores, place, seed=1).double()
        total = float(((ranks - middle) * (positions - middle)).sum())
        largest = max(largest, abs(total) / deviation if deviation > 0 else 0.0)
    if largest > LARGEST_Z:
        warn(
            f"The lists do not seem to be in random order: positions go with a ranker's scores (z "
            f"= {largest:.1f}). Inverse propensities of 1 / length are wrong then, and the verdict "
            "is left undecided: take the randomly ordered slice alone, or give propensities.",
            "order-not-random",
        )
    return largest <= LARGEST_Z
