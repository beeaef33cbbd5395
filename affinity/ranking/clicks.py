"""Planted click models: what positions do to clicks, to check a position tower against a truth."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from affinity.errors import InputError, check_choice

from .impressions import Impressions
from .metrics import check_rows
from .model import RankingModel


@dataclass(frozen=True)
class PositionClicks:
    r"""Clicks under the position-based model: a row is clicked if it is examined and attracts.

    Whether it is examined depends on its position k(i) alone.

    .. math:: P(C_i = 1) = e_{k(i)}\, a_i

    Args:
        examination: The probability that each position is examined; positions beyond the last
            count as it.

    Raises:
        InputError: If it is empty, or not a probability.

    References:
        Craswell et al. (2008), `An Experimental Comparison of Click Position-Bias Models
        <https://doi.org/10.1145/1341531.1341545>`_.

    Example:
        >>> slates, positions = torch.zeros(2, dtype=torch.long), torch.tensor([1, 2])
        >>> PositionClicks((1.0, 0.0))(torch.ones(2), slates, positions).tolist()
        [1.0, 0.0]
    """

    examination: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.examination:
            raise InputError(
                "Expected the examination of at least one position, but got none.", "no-positions"
            )
        _check_probabilities("examination", torch.tensor(self.examination))

    def __call__(
        self,
        attraction: Float[Tensor, " row"],
        slates: Int[Tensor, " row"],
        positions: Int[Tensor, " row"],
        seed: int = 0,
    ) -> Float[Tensor, " row"]:
        """Draw clicks from the probability of one per examined row (0 or 1 where it is known).

        Positions count from 1 within the slate, the list to which a row belongs.

        Raises:
            InputError: If rows differ, an attraction is no probability, or a position is below 1.
        """
        _check_draws(attraction, slates, positions)
        generator = torch.Generator().manual_seed(seed)
        examination = attraction.new_tensor(self.examination)
        examined = examination[(positions - 1).clamp(max=len(examination) - 1)]
        return torch.bernoulli(examined * attraction, generator=generator)


@dataclass(frozen=True)
class CascadeClicks:
    """Clicks under the cascade model: a user looks from the top, and may leave after each row.

    What a user examines depends on what stands above it, so that no function of the position alone
    is right.

    Args:
        after_click: Probability of going on to the next row after a click.
        otherwise: Probability of going on without one.

    Raises:
        InputError: If one of them is not a probability.

    References:
        Craswell et al. (2008), as above; Guo et al. (2009), `Efficient Multiple-Click Models in Web
        Search <https://doi.org/10.1145/1498759.1498818>`_ (dependent click model).

    Example:
        >>> slates, positions = torch.zeros(2, dtype=torch.long), torch.tensor([2, 1])
        >>> CascadeClicks(after_click=0.0)(torch.ones(2), slates, positions).tolist()
        [0.0, 1.0]
    """

    after_click: float = 0.3
    otherwise: float = 1.0

    def __post_init__(self) -> None:
        probabilities = torch.tensor([self.after_click, self.otherwise])
        _check_probabilities("after_click and otherwise", probabilities)

    def __call__(
        self,
        attraction: Float[Tensor, " row"],
        slates: Int[Tensor, " row"],
        positions: Int[Tensor, " row"],
        seed: int = 0,
    ) -> Float[Tensor, " row"]:
        """Draw clicks; the arguments are those of `PositionClicks`."""
        _check_draws(attraction, slates, positions)
        generator = torch.Generator().manual_seed(seed)
        wants = torch.bernoulli(attraction, generator=generator)  # clicks, if it is examined
        goes_on = torch.full_like(attraction, self.otherwise)
        goes_on = goes_on.where(wants == 0, self.after_click)
        goes_on = torch.bernoulli(goes_on, generator=generator)
        _, slate = slates.unique(return_inverse=True)
        is_there = torch.ones(int(slate.max()) + 1, dtype=attraction.dtype)
        clicks = torch.zeros_like(attraction)
        for position in range(1, int(positions.max()) + 1):
            rows = (positions == position).nonzero().flatten()
            clicks[rows] = wants[rows] * is_there[slate[rows]]
            is_there[slate[rows]] *= goes_on[rows]
        return clicks


def positions_by_score(
    scores: Float[Tensor, " row"], slates: Int[Tensor, " row"], seed: int = 0
) -> Int[Tensor, " row"]:
    """The position of each row if its list is ordered by score, the highest at 1.

    Rows with equal scores are in random order: the order of the log would be that of the ranker
    that made it.

    Raises:
        InputError: If a score is NaN, or rows differ.

    Example:
        >>> positions_by_score(torch.tensor([0.1, 0.9, 0.5]), torch.tensor([1, 1, 2])).tolist()
        [2, 1, 1]
    """
    check_rows(scores=scores, slates=slates)
    if bool(scores.isnan().any()):
        raise InputError("Expected scores to order rows by, but some are NaN.", "missing-score")
    random = np.random.default_rng(seed).random(len(scores))
    order = np.lexsort((random, -scores.double().numpy(), slates.numpy()))
    ordered = slates.numpy()[order]
    starts = np.searchsorted(ordered, ordered, side="left")
    positions = np.empty(len(order), dtype=np.int64)
    positions[order] = np.arange(len(order)) - starts + 1
    return torch.from_numpy(positions)


def position_effect(
    model: RankingModel, impressions: Impressions, objective: str
) -> dict[int, float]:
    r"""Mean prediction if everything stood at a position, relative to the first position.

    If clicks follow the position-based model and the model is right, this is the examination
    probability :math:`e_k / e_1`.

    Args:
        impressions: Rows over which to average; best from lists in random order.

    Raises:
        InputError: If the model does not use positions, met fewer than two in training, or does not
            predict the objective.

    Example:
        >>> from .model import RankingSettings
        >>> from .objective import RankingObjective
        >>> model = RankingModel([RankingObjective("click")], ["user"], [], RankingSettings())
        >>> try:
        ...     position_effect(model, None, "click")
        ... except InputError as error:
        ...     error.code
        'no-positions'
    """
    seen = (model.seen_positions[1:].nonzero().flatten() + 1).tolist()
    if model.settings.position == "none" or len(seen) < 2:
        raise InputError(
            "Expected a model that met at least two positions in training and uses them "
            f"(position='tower' or 'feature'), but it uses {model.settings.position!r} and met "
            f"{seen}.",
            "no-positions",
        )
    names = [each.name for each in model.objectives]
    check_choice("the objective", objective, names, "unknown-task")
    means = {
        position: model.predict(
            impressions, torch.full_like(impressions.positions, position)
        )[objective].mean().item()
        for position in seen
    }  # fmt: skip
    return {position: mean / means[seen[0]] for position, mean in means.items()}


def _check_draws(attraction: Tensor, slates: Tensor, positions: Tensor) -> None:
    check_rows(attraction=attraction, slates=slates, positions=positions)
    _check_probabilities("attraction", attraction)
    if bool((positions < 1).any()):
        raise InputError("Expected positions from 1 on, but some are below.", "invalid-position")


def _check_probabilities(name: str, values: Tensor) -> None:
    if not bool(((values >= 0) & (values <= 1)).all()):
        raise InputError(
            f"Expected probabilities from 0 to 1 as {name}, but got {values.min():g} to "
            f"{values.max():g}.",
            "invalid-probability",
        )
