"""What each method scores on meta-test tasks, with intervals, and what to do."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from torch import Tensor

from affinity.statistics import estimate
from affinity.statistics import interval as student

from .one_distribution import OneDistribution

BASELINE = "from scratch"


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores of one method at one number of shots; tasks are the same for all methods.

    Args:
        test: On meta-test tasks.
        validation: On validation tasks after the last step, for decisions.
    """

    test: Float[Tensor, "replicate step task"]
    validation: Float[Tensor, "replicate task"]


@dataclass(frozen=True, eq=False)
class FewShotResult:
    """Methods side by side on the same meta-test tasks.

    Args:
        name: The problem.
        score: What is scored: ``accuracy``, where up is better, or a loss, where down is.
        steps: Gradient steps on the support rows after which tasks were judged.
        scores: By shots and method, from the simplest method to the most expensive one.
        check: Whether meta-training and meta-test tasks look alike.
        context: Settings, seeds and methods.
    """

    name: str
    score: str
    steps: tuple[int, ...]
    scores: Mapping[int, Mapping[str, Scores]]
    check: OneDistribution
    context: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def sign(self) -> int:
        """1 where a higher score is better, -1 where a lower one is."""
        return 1 if self.score == "accuracy" else -1

    def frame(self) -> pd.DataFrame:
        """One row a number of shots, method and number of steps, with 95 % intervals.

        `better` is how much better the score is than from scratch, paired over tasks.
        """
        rows: list[dict[str, object]] = []
        for shots, methods in self.scores.items():
            base = methods.get(BASELINE)
            for method, scores in methods.items():
                for at, steps in enumerate(self.steps):
                    own = scores.test[:, at].double().numpy()
                    mean, half = interval(own)
                    row: dict[str, object] = {"shots": shots, "method": method, "steps": steps}
                    row |= {"score": mean, "low": mean - half, "high": mean + half}
                    if base is not None:
                        other = base.test[:, at].double().numpy()
                        better, reach = interval(self.sign * (own - other))
                        row |= {"better": better, "better_low": better - reach}
                        row |= {"better_high": better + reach}
                    rows.append(row)
        return pd.DataFrame(rows)

    def advised(self, shots: int) -> str:
        """The simplest method that validation tasks do not show to be worse than the best one."""
        methods = self.scores[shots]
        signed = {
            name: self.sign * scores.validation.double().numpy() for name, scores in methods.items()
        }
        best = max(signed, key=lambda name: signed[name].mean())
        for name in methods:
            behind, half = interval(signed[best] - signed[name])
            if name == best or behind - half <= 0:
                return name
        return best

    def advice(self) -> list[str]:
        """A sentence or two for every number of shots."""
        return [self._advice(shots) for shots in self.scores]

    def _advice(self, shots: int) -> str:
        name = self.advised(shots)
        methods = self.scores[shots]
        mean, half = interval(methods[name].test[:, -1].double().numpy())
        count = f"{shots} shot{'' if shots == 1 else 's'}"
        said = f"{count}: {_what_to_do(name)}, {self.score} {mean:.3g} ± {half:.2g}"
        if name == BASELINE or BASELINE not in methods:
            return f"{said}."
        own, other = (methods[each].test[:, -1].double().numpy() for each in (name, BASELINE))
        better, reach = interval(self.sign * (own - other))
        if better - reach > 0:
            return f"{said}: {better:.3g} ± {reach:.2g} better than from scratch."
        if better + reach < 0:
            return (
                f"{said}; but on the meta-test tasks it is {-better:.3g} ± {reach:.2g} worse than "
                "from scratch: what was learned does not carry over to them."
            )
        return f"{said}; the meta-test tasks do not show it to be better than from scratch."

    def plain(self) -> dict[str, Any]:
        """As values for JSON."""
        return {
            "version": 1,
            "problem": self.name,
            "score": self.score,
            "steps": list(self.steps),
            "n_tasks": next(iter(self._all())).test.shape[2],
            "replicates": next(iter(self._all())).test.shape[0],
            "one_distribution": {
                "p_value": self.check.p_value,
                "differs": self.check.differs,
                "warning": self.check.warning,
            },
            "rows": json.loads(self.frame().to_json(orient="records")),
            "advised": {str(shots): self.advised(shots) for shots in self.scores},
            "advice": self.advice(),
            "context": dict(self.context),
        }

    def _all(self) -> list[Scores]:
        return [scores for methods in self.scores.values() for scores in methods.values()]


def interval(scores: Float[np.ndarray, "replicate task"]) -> tuple[float, float]:
    """The mean, and half the width of its 95 % interval.

    From one replicate, Student's over the tasks: what to expect of other tasks, after this
    meta-training. From several, of other tasks and other meta-trainings, by a crossed design.

    Example:
        >>> mean, half = interval(np.array([[0.0, 1.0, 0.0, 1.0]]))
        >>> mean, round(half, 2)  # 3.18 * 0.577 / 2
        (0.5, 0.92)
    """
    if len(scores) == 1:
        low, high = student(scores[0])
        return float(scores.mean()), float(high - low) / 2
    found = estimate(scores.mean(axis=1, keepdims=True), scores[:, None, :])
    return float(found.mean[0]), float(found.reach()[0])


def _what_to_do(name: str) -> str:
    return "train each task from scratch" if name == BASELINE else f"use {name}"
