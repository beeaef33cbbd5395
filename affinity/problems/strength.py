"""Strength of soft sharing, chosen on validation rows."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from affinity.errors import InputError
from affinity.sharing import SoftSharing
from affinity.tasks import Replicate
from affinity.training import Build, Member, TrainedNetwork, TrainingSettings, train_members
from affinity.training.judge import scales_of, score_of

from .problem import Problem

STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)
"""From nearly separate networks to nearly hard sharing; independent of the scale of losses."""


@dataclass(frozen=True, eq=False)
class Strengths:
    """Soft sharing at several strengths, on the same replicates.

    Args:
        scores: The validation loss over that of the best constant prediction, averaged over tasks;
            the criterion of early stopping.
        trained: The trainings, ``[strength][replicate]``.
    """

    strengths: tuple[float, ...]
    scores: Float[Tensor, "strength replicate"]
    trained: tuple[tuple[TrainedNetwork, ...], ...]

    @property
    def note(self) -> str:
        """The chosen strength and its score, and whether it is the smallest or largest tried."""
        scores = self.scores.mean(dim=1).tolist()
        tried = ", ".join(
            f"{score:.3f} at {strength:g}"
            for strength, score in zip(self.strengths, scores, strict=True)
        )
        text = f"The strength {self.best:g} of soft sharing was chosen on validation rows ({tried})"
        if self.best == self.strengths[-1]:
            return text + "; it is the largest tried, and nearly hard sharing."
        if self.best == self.strengths[0]:
            return text + "; it is the smallest tried, and nearly the same as separate networks."
        return text + "."

    @property
    def best(self) -> float:
        """The strength with the lowest mean score; the smallest of several equal ones."""
        return self.strengths[int(self.scores.mean(dim=1).argmin())]

    def best_on(self, replicate: int) -> tuple[float, TrainedNetwork]:
        """The strength of the lowest score on one replicate, and the network trained with it."""
        row = int(self.scores[:, replicate].argmin())
        return self.strengths[row], self.trained[row][replicate]


def try_strengths(
    problem: Problem,
    tasks: frozenset[str],
    replicates: Sequence[Replicate],
    strengths: Sequence[float] = STRENGTHS,
    settings: TrainingSettings | None = None,
    affinity: Float[Tensor, "source target"] | None = None,
) -> Strengths:
    """Train tasks with soft sharing at each strength; test rows play no part in the choice.

    Args:
        tasks: Names of the tasks that share.
        replicates: Draws of rows; networks have the problem's width (see `at_equal_size`).
        strengths: From separate networks (0) to nearly hard sharing.
        settings: How to train; the problem's own settings if None.
        affinity: Pulls tasks to those that help them, in the order of the problem's tasks; all
            pairs equally if None.

    Raises:
        InputError: If there is no strength, one is negative, or a task is unknown.

    Example:
        >>> from affinity.problems import load_digits
        >>> problem = load_digits(width=8)
        >>> pair, settings = frozenset({"odd", "prime"}), TrainingSettings(epochs=1)
        >>> tried = try_strengths(problem, pair, problem.replicates(2), (0.0, 0.01), settings)
        >>> tried.scores.shape  # strength replicate
        torch.Size([2, 2])
    """
    if not strengths:
        raise InputError("Expected at least one strength to try, but got none.", "no-strengths")
    columns = [column for column, name in enumerate(problem.names) if name in tasks]
    between = None if affinity is None else affinity[columns][:, columns]
    strengths, settings = sorted(strengths), settings or problem.settings

    def build_with(strength: float) -> Build:
        return lambda group: SoftSharing(group, problem.trunk, problem.head, strength, between)

    n_replicates = len(replicates)
    results = train_members(  # networks of all strengths have one shape: they are trained at once
        [build for build in map(build_with, strengths) for _ in replicates],
        problem.tasks,
        [Member(tasks, number) for _ in strengths for number in range(n_replicates)],
        replicates,
        settings,
    )
    trained = [
        tuple(results[first : first + n_replicates])
        for first in range(0, len(results), n_replicates)
    ]
    scales = [
        scales_of(problem.tasks, replicate.training, replicate.validation)
        for replicate in replicates
    ]
    scores = [
        [
            score_of(result.validation_loss, scale, settings.objective)
            for result, scale in zip(of_strength, scales, strict=True)
        ]
        for of_strength in trained
    ]
    scores = torch.tensor(scores, dtype=torch.double).nan_to_num(nan=torch.inf)  # if diverged
    return Strengths(tuple(strengths), scores, tuple(trained))
