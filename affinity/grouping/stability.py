"""Stability: how sure a grouping is, given the errors of the affinities."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from jaxtyping import Float64

from affinity.estimates import AffinityMatrix

from .budget import Budget
from .constraints import Constraints
from .every_partition import MOST_UNITS, EveryPartition
from .grouping import Grouping
from .grouping_problem import GroupingProblem
from .objective import GroupingObjective
from .pairs import Pairs
from .replicates import again, noises_of, solutions, with_noise
from .solve import request_of, solve


@dataclass(frozen=True)
class RunnerUp:
    """Another grouping, and how much less it scores than the best.

    Args:
        grouping: Within the same budget and wishes.
        distance: Of its score below that of the best.
        frequency: In which share of the replicates it is the best itself.
    """

    grouping: Grouping
    distance: float
    frequency: float


@dataclass(frozen=True)
class Contrast:
    """The best grouping's score above a baseline's, and how easily noise alone makes that much.

    Args:
        difference: Of the scores.
        p_value: Share of noise-only replicates in which some grouping beats the baseline by that.
    """

    difference: float
    p_value: float

    def is_distinguishable(self, level: float = 0.05) -> bool:
        """Whether noise would seldom make the difference."""
        return self.p_value < level


@dataclass(frozen=True, eq=False)
class Stability:
    """What stays of a grouping when the affinities are drawn again.

    Args:
        tasks: In the order of both axes of `together`.
        grouping: The best one of the matrix itself.
        frequency: In which share of the replicates it is the best again.
        together: ``[task task]``, in which share of the replicates one network serves both.
        runners_up: Other groupings, the best first.
        all_in_one: The grouping against one network for all; None where that is forbidden.
        separate: The grouping against a network a task; None where that is forbidden.
        n_replicates: How many were solved.
    """

    tasks: tuple[str, ...]
    grouping: Grouping
    frequency: float
    together: Float64[np.ndarray, "task task"]
    runners_up: tuple[RunnerUp, ...]
    all_in_one: Contrast | None
    separate: Contrast | None
    n_replicates: int

    def frame(self) -> pd.DataFrame:
        """One row for every two tasks: how often one network serves both."""
        rows, columns = np.triu_indices(len(self.tasks), 1)
        return pd.DataFrame(
            {
                "task": [self.tasks[row] for row in rows],
                "other": [self.tasks[column] for column in columns],
                "together": self.together[rows, columns],
            }
        )


def stability(
    matrix: AffinityMatrix,
    budget: int | Budget,
    *,
    replicates: Sequence[AffinityMatrix] | None = None,
    n_replicates: int = 200,
    n_runners_up: int = 5,
    overlap: bool = False,
    objective: GroupingObjective | None = None,
    wishes: Constraints | None = None,
    time_limit: float = 60.0,
    seed: int = 0,
) -> Stability:
    r"""Solve the matrix again with noise drawn anew, and noise alone.

    Replicates are the matrix plus normal errors :math:`E` of its standard errors, independent from
    pair to pair; or bootstrap replicates, from which :math:`E` is their deviation from their mean.

    The score is linear in the affinities, so under noise alone the grouping :math:`P` beats a
    baseline :math:`P_0` by :math:`s_E(P) - s_E(P_0)`. The best grouping was chosen among all, so
    its lead is compared with the lead of the best under noise alone,

    .. math::
        p = \frac{1 + \#\{r : \max_P s_{E_r}(P) - s_{E_r}(P_0) \ge s(P^*) - s(P_0)\}}{1 + R},

    which is White's reality check. It errs towards not telling groupings apart.

    Args:
        matrix: With standard errors, unless `replicates` are given.
        budget: As for `solve`.
        replicates: Matrices of the same tasks, of bootstrap samples for example.
        n_replicates: How many are drawn from the standard errors.
        n_runners_up: How many to tell.
        overlap: As for `solve`.
        objective: As for `solve`.
        wishes: As for `solve`.
        time_limit: Seconds; with more than 12 tasks (10 with costs) fewer replicates may be done
            by then, and where there are no costs they are solved by local search.
        seed: Of the noise.

    References:
        White (2000), `A Reality Check for Data Snooping
        <https://doi.org/10.1111/1468-0262.00152>`_.

    Example:
        >>> import torch
        >>> values = torch.tensor([[0.0, 1.0, -1.0], [1.0, 0.0, -1.0], [-1.0, -1.0, 0.0]])
        >>> noisy = AffinityMatrix(
        ...     ("depth", "edges", "text"), values, standard_error=torch.full((3, 3), 0.1)
        ... )
        >>> sure = stability(noisy, budget=2)
        >>> sure.frequency, sure.all_in_one.is_distinguishable()
        (1.0, True)
    """
    began = time.perf_counter()
    objective = objective or GroupingObjective()
    request = request_of(
        matrix, budget, overlap, objective, wishes or Constraints(), 0.2 * time_limit, seed
    )
    best = solve(
        matrix,
        request.budget,
        overlap=overlap,
        objective=objective,
        wishes=request.wishes,
        time_limit=0.2 * time_limit,
        seed=seed,
    )
    noises = noises_of(matrix, objective, replicates, n_replicates, seed)
    noisy = [with_noise(request, noise) for noise in noises]
    found = [again(request, grouping) for _, grouping in solutions(noisy, began + 0.6 * time_limit)]
    alone = [replace(request, scores=noise) for noise in noises]
    leads = [score for score, _ in solutions(alone, began + time_limit)]
    noises = noises[: len(leads)]
    keys = [_key(grouping) for _, grouping in found]
    served = np.array(
        [
            [next(i for i, network in enumerate(key) if task in network) for task in request.tasks]
            for key in keys
        ]
    )  # replicate task
    together = (served[:, :, None] == served[:, None, :]).mean(axis=0)
    order = [request.tasks.index(task) for task in matrix.tasks]
    return Stability(
        tasks=matrix.tasks,
        grouping=best,
        frequency=float(np.mean([key == _key(best) for key in keys])),
        together=together[np.ix_(order, order)],
        runners_up=tuple(_runners_up(request, best, found, keys, n_runners_up)),
        all_in_one=_contrast(request, best, noises, leads, is_separate=False),
        separate=_contrast(request, best, noises, leads, is_separate=True),
        n_replicates=len(found),
    )


def _runners_up(
    request: GroupingProblem,
    best: Grouping,
    found: list[tuple[float, Grouping]],
    keys: list[frozenset[frozenset[str]]],
    number: int,
) -> list[RunnerUp]:
    """The best other groupings: of all where that is feasible, else of the replicates'."""
    others = {_key(grouping): (score, grouping) for score, grouping in found}
    helpers_cost = request.budget.cost is not None and bool(request.may_help.any())
    if len(request.units) <= MOST_UNITS and not helpers_cost:
        for score, grouping in EveryPartition(request).best(request, number + 1):
            others[_key(grouping)] = (score, grouping)
    others.pop(_key(best), None)
    ranked = sorted(others.items(), key=lambda item: -item[1][0])[:number]
    return [
        RunnerUp(
            grouping=replace(grouping, score=score),
            distance=max(0.0, (best.score or 0.0) - score),
            frequency=float(np.mean([key == each for each in keys])),
        )
        for key, (score, grouping) in ranked
    ]


def _contrast(
    request: GroupingProblem,
    best: Grouping,
    noises: list[Pairs],
    leads: list[float],
    is_separate: bool,
) -> Contrast | None:
    def baseline(pairs: Pairs) -> float:
        every = range(len(pairs.tasks))
        if is_separate:
            return sum(pairs.score([task], [task]) for task in every)
        return pairs.score(every, every)

    score = baseline(request.pairs)
    if not np.isfinite(score) or best.score is None:
        return None
    difference = best.score - score
    reached = sum(
        lead - baseline(noise) >= difference - 1e-12
        for noise, lead in zip(noises, leads, strict=True)
    )
    return Contrast(difference, (1 + reached) / (1 + len(leads)))


def _key(grouping: Grouping) -> frozenset[frozenset[str]]:
    return frozenset(network.served for network in grouping.networks)
