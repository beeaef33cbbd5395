"""Scores as losses: losses whose relative reductions are the gains of scores of any kind."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from affinity.tasks import Score
from affinity.tasks.score import weights_of


@dataclass(frozen=True)
class ScoreLevel:
    """The level of a task's scores, to which gains are relative."""

    mean: float  # alone; of all networks, if the task was never trained alone
    size: float  # mean absolute value of the same scores


def levels_of(
    networks: Sequence[frozenset[str]],
    scores: Float[Tensor, "network replicate task"],
    tasks: Mapping[str, Score],
) -> dict[str, ScoreLevel]:
    """The level of each task that has a score."""
    levels: dict[str, ScoreLevel] = {}
    for column, task in enumerate(tasks):
        known = scores[:, :, column]
        alone = known[[network == frozenset({task}) for network in networks]]
        baseline = alone if alone.isfinite().any() else known
        baseline = baseline[baseline.isfinite()]
        if len(baseline):
            levels[task] = ScoreLevel(float(baseline.mean()), float(baseline.abs().mean()))
    return levels


def as_losses(
    scores: Float[Tensor, "network replicate task"],
    tasks: Mapping[str, Score],
    levels: Mapping[str, ScoreLevel],
) -> Float[Tensor, "network replicate task"]:
    """Losses, 1 minus the gain over the level, on the common scale and weighted by task.

    A predictor of relative gains, such as `CalibratedGains`, turns them back into these gains,
    because the mean loss alone is 1. Tasks without a level get NaN.
    """
    weights = weights_of(dict(tasks))
    losses = torch.full_like(scores, torch.nan)
    for column, (task, score) in enumerate(tasks.items()):
        if task in levels:
            level = levels[task]
            gains = score.sign * (scores[:, :, column] - level.mean)
            losses[:, :, column] = 1 - weights[task] * gains / score.size(level.mean, level.size)
    return losses
