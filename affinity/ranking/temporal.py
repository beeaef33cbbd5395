"""Temporal replicates: train on days in order, judge on the days after, from rolling starts."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from affinity.errors import InputError
from affinity.tasks import Score
from affinity.training import Scores

from .daily import DailyTrainer, ObjectiveMetrics, evaluate
from .impressions import Impressions
from .model import RankingSettings


@dataclass(frozen=True, eq=False)
class TemporalTrainer:
    """Trains one network for some of the objectives, as a study's `train` function.

    Each seed stands for a start day and an initialization: the network trains once, in the order of
    time, on `training` days from its start, its validation scores are those of the next
    `validation` days, and its test scores those of the `test` days after them. Seeds of the same
    start share days, so that their differences vary less than those of new days would; and a day
    that validates from one start tests from an earlier one, so that a choice is judged on days that
    helped to make it.

    Scores are AUCs of binary objectives and losses of times, over all rows of these days.

    Args:
        settings: Of the model; objectives alone are trained with hard sharing.
        training: Number of days to train on.
        validation: Number of days that decide.
        test: Number of days that judge.

    Raises:
        InputError: If the log has too few days.

    Example:
        >>> import pandas as pd
        >>> from .impressions import read_impressions
        >>> from .objective import RankingObjective
        >>> log = pd.DataFrame({"time": range(0, 400_000, 400), "user": [1, 2, 3, 4] * 250})
        >>> log["click"] = (log["user"] < 3).astype(float)
        >>> impressions = read_impressions(
        ...     log, [RankingObjective("click")], time="time", time_unit="s", user="user",
        ...     identifiers=["user"])
        >>> trainer = TemporalTrainer(impressions, training=2)
        >>> trainer.starts, trainer.tasks
        (2, {'click': Score(direction='maximize', unit=0.001, relative=None, weight=1.0)})
    """

    impressions: Impressions
    settings: RankingSettings = field(default_factory=RankingSettings)
    training: int = 7
    validation: int = 1
    test: int = 1

    def __post_init__(self) -> None:
        needed = self.training + self.validation + self.test
        if min(self.training, self.validation, self.test) < 1 or self.starts < 1:
            raise InputError(
                f"Expected at least {needed} days, one or more each to train, validate and test, "
                f"but the log has {len(self.impressions.day_names)}.",
                "too-few-days",
            )

    @property
    def starts(self) -> int:
        """The number of start days."""
        needed = self.training + self.validation + self.test
        return len(self.impressions.day_names) - needed + 1

    @property
    def tasks(self) -> dict[str, Score]:
        """How the scores of each objective are compared: 0.001 of AUC, 1 % of a loss matter."""
        return {
            objective.name: Score("maximize", unit=0.001, weight=objective.weight)
            if objective.is_binary
            else Score("minimize", weight=objective.weight)
            for objective in self.impressions.objectives
        }

    def __call__(self, tasks: Sequence[str], seed: int) -> Scores:
        """Train one network for `tasks`."""
        trainer, start = self.train(tasks, seed)
        end = start + self.training
        validation = self._scores(trainer, range(end, end + self.validation))
        first = end + self.validation
        test = self._scores(trainer, range(first, first + self.test))
        parameters = sum(parameter.numel() for parameter in trainer.model.parameters())
        return Scores(validation=validation, test=test, parameters=parameters)

    def train(self, tasks: Sequence[str], seed: int) -> tuple[DailyTrainer, int]:
        """The trained network, and its start day."""
        start = seed % self.starts
        impressions = self.impressions.of(tasks)
        settings = replace(self.settings, seed=seed)
        if len(impressions.objectives) == 1:
            settings = replace(settings, sharing="hard", sharing_settings={})
        trainer = DailyTrainer(settings, overhead=None)
        trainer.train(impressions, slice(start, start + self.training))
        return trainer, start

    def _scores(self, trainer: DailyTrainer, days: range) -> dict[str, float]:
        impressions = self.impressions.of([o.name for o in trainer.model.objectives])
        chosen: Tensor = torch.isin(impressions.days, torch.tensor(list(days)))
        metrics = evaluate(trainer.model, impressions.take(chosen))
        return {
            objective.name: value
            for objective in impressions.objectives
            if objective.name in metrics
            and (value := _score(metrics[objective.name], objective.is_binary)) == value
        }


def _score(metrics: ObjectiveMetrics, is_binary: bool) -> float:
    return metrics.auc if is_binary else metrics.loss
