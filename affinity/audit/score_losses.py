"""Scores as losses: losses whose relative reductions are the gains of scores of any kind."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from affinity.problems import TrainingResults
from affinity.tasks import Score
from affinity.tasks.score import weights_of
from affinity.training import Result
from affinity.words import shorten


@dataclass(frozen=True)
class ScoreLevel:
    """The level of a task's scores, to which gains are relative."""

    mean: float  # alone; of all networks, if the task was never trained alone
    size: float  # mean absolute value of the same scores


def levels_of(
    networks: Sequence[frozenset[str]],
    scores: Float[Tensor, "network replicate task"],
    tasks: Mapping[str, Score],
    blocks: Sequence[frozenset[str]] | None = None,
) -> dict[str, ScoreLevel]:
    """The level of each task that has a score: alone, or in any network of several tasks.

    The latter where a task of its block was never alone, as in `CalibratedGains`, which is then
    given the same `blocks`.
    """
    is_alone = torch.tensor([len(network) == 1 for network in networks])
    known = {task: scores[:, :, column] for column, task in enumerate(tasks)}
    was_alone = {task for task, each in known.items() if each[is_alone].isfinite().any()}
    levels: dict[str, ScoreLevel] = {}
    for block in blocks or [frozenset({task}) for task in tasks]:
        rows = is_alone if block <= was_alone else ~is_alone
        for task in block:
            baseline = known[task][rows]
            baseline = baseline[baseline.isfinite()]
            if len(baseline):
                levels[task] = ScoreLevel(float(baseline.mean()), float(baseline.abs().mean()))
    return levels


def losses_of_scores(
    measured: TrainingResults,
    tasks: Mapping[str, Score],
    blocks: Sequence[frozenset[str]] | None = None,
) -> TrainingResults:
    """The same trainings with losses (`as_losses`) instead of scores.

    The levels are those of all trainings: gains are exact only where the mean loss alone is 1.
    """
    scores = measured.evaluation_loss
    levels = levels_of(measured.networks, scores, tasks, blocks)
    return replace(measured, evaluation_loss=as_losses(scores, tasks, levels))


def tasks_around_zero(results: Iterable[Result], tasks: Mapping[str, Score]) -> tuple[str, ...]:
    """Tasks compared relatively whose scores alone are above and below 0: ratios of any size."""
    alone: dict[str, list[float]] = {task: [] for task in tasks}
    for result in results:
        if len(result.job.tasks) == 1:
            for task, score in (result.validation or {}).items():
                alone[task].append(score)
    return tuple(
        task
        for task, score in tasks.items()
        if score.is_relative and alone[task] and min(alone[task]) < 0 < max(alone[task])
    )


def explain_around_zero(tasks: Iterable[str]) -> str:
    """What is wrong with scores around zero of these tasks, and what to do."""
    return (
        f"The scores of {shorten(map(repr, tasks))} alone are above 0 in some trainings and below "
        "0 in others, so that gains relative to them can be of any size. Give the difference that "
        "matters in the score's own units: affinity.Score('minimize', unit=0.01), for example."
    )


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
