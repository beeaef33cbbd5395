"""Few-shot results: scores of every method on meta-test tasks, with intervals and advice."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from jaxtyping import Float
from torch import Tensor

from affinity.statistics import estimate, interval
from affinity.words import count

from .distribution_shift import DistributionShift

BASELINE = "from scratch"


@dataclass(frozen=True, eq=False)
class MethodScores:
    """Scores of one method at one number of shots; tasks are the same for all methods.

    Args:
        test: On meta-test tasks.
        validation: On validation tasks after the last step, for decisions.
    """

    test: Float[Tensor, "replicate step task"]
    validation: Float[Tensor, "replicate task"]


@dataclass(frozen=True)
class FewShotScore:
    """Mean score of a method on meta-test tasks, with 95 % intervals.

    `better` is the improvement over training from scratch, paired over tasks; NaN without it.
    """

    shots: int
    method: str
    steps: int
    score: float
    low: float
    high: float
    better: float
    better_low: float
    better_high: float


@dataclass(frozen=True)
class FewShotSummary:
    """The numbers and sentences of a `FewShotResult`: what ``fewshot.json`` contains.

    Args:
        score: ``accuracy`` or ``loss``.
        steps: Numbers of gradient steps.
        n_tasks: Number of meta-test tasks.
        replicates: Number of meta-trainings.
        distribution_shift: Whether meta-test tasks differ from meta-training tasks.
        rows: Every number of shots, method and number of steps.
        advised: The advised method by number of shots.
        advice: A sentence per number of shots.
        warnings: Reasons why the advice may not hold.
    """

    problem: str
    score: str
    steps: tuple[int, ...]
    n_tasks: int
    replicates: int
    distribution_shift: DistributionShift
    rows: tuple[FewShotScore, ...]
    advised: Mapping[int, str]
    advice: tuple[str, ...]
    warnings: tuple[str, ...]
    context: Mapping[str, object]
    version: int = 2


@dataclass(frozen=True, eq=False)
class FewShotResult:
    """Scores of several methods on the same meta-test tasks.

    Args:
        score: ``accuracy`` (higher is better) or a loss (lower is better).
        steps: Numbers of gradient steps on the support rows.
        scores: By shots and method, from the simplest method to the most expensive one.
        shift: Whether meta-test tasks differ from meta-training tasks.
    """

    name: str
    score: str
    steps: tuple[int, ...]
    scores: Mapping[int, Mapping[str, MethodScores]]
    shift: DistributionShift
    context: Mapping[str, object] = field(default_factory=dict[str, object])
    warnings: tuple[str, ...] = ()  # of the data

    @property
    def sign(self) -> int:
        """1 if higher scores are better, -1 if lower ones are."""
        return 1 if self.score == "accuracy" else -1

    def rows(self) -> tuple[FewShotScore, ...]:
        """Every number of shots, method and number of steps."""
        rows: list[FewShotScore] = []
        for shots, methods in self.scores.items():
            for method, scores in methods.items():
                for place, steps in enumerate(self.steps):
                    mean, half = mean_and_half_width(scores.test[:, place].double().numpy())
                    better, reach = math.nan, math.nan
                    if BASELINE in methods:
                        better, reach = self._improvement(shots, method, place)
                    rows.append(
                        FewShotScore(
                            *(shots, method, steps, mean, mean - half, mean + half),
                            *(better, better - reach, better + reach),
                        )
                    )
        return tuple(rows)

    def frame(self) -> pd.DataFrame:
        """One row per number of shots, method and number of steps: the fields of `FewShotScore`."""
        return pd.DataFrame(self.rows())

    def advised(self, shots: int) -> str:
        """The simplest method that is not significantly worse than the best on validation tasks."""
        methods = self.scores[shots]
        signed = {
            name: self.sign * scores.validation.double().numpy() for name, scores in methods.items()
        }
        best = max(signed, key=lambda name: signed[name].mean())
        for name in methods:
            difference, half = mean_and_half_width(signed[best] - signed[name])
            if name == best or difference - half <= 0:
                return name
        return best

    def advice(self) -> list[str]:
        """A sentence per number of shots."""
        return [self._advice(shots) for shots in self.scores]

    def summary(self) -> FewShotSummary:
        """The numbers and sentences."""
        replicates, _, n_tasks = next(iter(next(iter(self.scores.values())).values())).test.shape
        return FewShotSummary(
            problem=self.name,
            score=self.score,
            steps=self.steps,
            n_tasks=n_tasks,
            replicates=replicates,
            distribution_shift=self.shift,
            rows=self.rows(),
            advised={shots: self.advised(shots) for shots in self.scores},
            advice=tuple(self.advice()),
            warnings=(*filter(None, [self.shift.warning]), *self.warnings),
            context=self.context,
        )

    def _improvement(self, shots: int, method: str, place: int) -> tuple[float, float]:
        """Mean improvement over training from scratch at one number of steps, and half width."""
        test, scratch = (
            self.scores[shots][name].test[:, place].double().numpy() for name in (method, BASELINE)
        )
        return mean_and_half_width(self.sign * (test - scratch))

    def _advice(self, shots: int) -> str:
        name = self.advised(shots)
        methods = self.scores[shots]
        mean, half = mean_and_half_width(methods[name].test[:, -1].double().numpy())
        what = "train each task from scratch" if name == BASELINE else f"use {name}"
        text = f"{count(shots, 'shot')}: {what}, {self.score} {mean:.3g} ± {half:.2g}"
        if name == BASELINE or BASELINE not in methods:
            return f"{text}."
        better, reach = self._improvement(shots, name, -1)
        if better - reach > 0:
            return f"{text}: {better:.3g} ± {reach:.2g} better than from scratch."
        if better + reach < 0:
            return (
                f"{text}; but on the meta-test tasks it is {-better:.3g} ± {reach:.2g} worse than "
                "from scratch: what was learned does not transfer to them."
            )
        return f"{text}; not shown to be better than from scratch on the meta-test tasks."


def mean_and_half_width(scores: Float[np.ndarray, "replicate task"]) -> tuple[float, float]:
    """The mean, and half the width of its 95 % interval.

    With one replicate, Student's interval over tasks: for other tasks after the same meta-training.
    With several, for other tasks and other meta-trainings, by a crossed design.
    """
    if len(scores) == 1:
        low, high = interval(scores[0])
        return float(scores.mean()), float(high - low) / 2
    mean = estimate(scores.mean(axis=1, keepdims=True), scores[:, None, :])
    return float(mean.mean[0]), float(mean.reach()[0])
