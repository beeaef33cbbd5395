"""Stability: how certain a grouping is, given the errors of the affinities."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float64

from affinity.errors import InputError, check_number
from affinity.estimates import AffinityMatrix

from .budget import Budget
from .constraints import Constraints
from .dynamic_programming import BestPartitions, best_partitions
from .grouping import Grouping
from .grouping_problem import GroupingProblem
from .local_search import LocalSearch
from .objective import GroupingObjective
from .serving import grouping_of, serving_values
from .solve import grouping_problem, solve_problem
from .solver_scores import Pairs

_MOST_AT_ONCE = 12  # units: up to here all replicates are solved exactly and together


@dataclass(frozen=True)
class RunnerUp:
    """Another grouping, and how much lower it scores than the best.

    Args:
        grouping: Within the same budget and constraints.
        distance: The best score minus its score.
        frequency: The fraction of the replicates in which it is the best.
    """

    grouping: Grouping
    distance: float
    frequency: float


@dataclass(frozen=True)
class Contrast:
    """The best grouping's lead over a baseline, and the probability of such a lead by noise alone.

    Args:
        difference: The best score minus the baseline's.
        p_value: The fraction of noise-only replicates in which some grouping has at least that
            lead over the baseline.
    """

    difference: float
    p_value: float

    def is_distinguishable(self, level: float = 0.05) -> bool:
        """Whether noise alone makes the difference with a probability below `level`."""
        return self.p_value < level


@dataclass(frozen=True, eq=False)
class Stability:
    """How the best grouping changes when the affinities are resampled.

    Args:
        tasks: In the order of both axes of `together`.
        grouping: The best one of the matrix itself.
        frequency: The fraction of the replicates in which it is also the best.
        together: The fraction of the replicates in which one network serves both tasks.
        runners_up: Other groupings, the best first.
        all_in_one: The grouping against one network for all; None where that is forbidden.
        separate: The grouping against one network per task; None where that is forbidden.
        n_replicates: The number of replicates that were solved.
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
        """One row per pair of tasks: how often one network serves both."""
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
    constraints: Constraints | None = None,
    time_limit: float = 60.0,
    seed: int = 0,
) -> Stability:
    r"""Solve the matrix again with random noise added, and noise alone.

    Replicates are the matrix plus normal errors :math:`E` of its standard errors, independent from
    pair to pair; or they are bootstrap replicates, and :math:`E` is their deviation from their
    mean.

    The score is linear in the affinities, so under noise alone the grouping :math:`P` has a lead
    over a baseline :math:`P_0` of :math:`s_E(P) - s_E(P_0)`. The best grouping was chosen among
    all, so its lead is compared with the lead of the best under noise alone,

    .. math::
        p = \frac{1 + \#\{r : \max_P s_{E_r}(P) - s_{E_r}(P_0) \ge s(P^*) - s(P_0)\}}{1 + R},

    which is White's reality check. It is conservative. Arguments that are not described are those
    of `solve`.

    Args:
        matrix: With standard errors, unless `replicates` are given.
        replicates: Matrices of the same tasks, of bootstrap samples for example.
        n_replicates: Number of replicates sampled from the standard errors.
        n_runners_up: The number of other groupings to return.
        time_limit: Seconds. Up to 12 tasks without costs, all replicates are solved exactly. With
            more tasks each is solved by local search, with costs by the default solver, and fewer
            may be done by the time limit.

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
    problem = grouping_problem(
        matrix, budget, overlap, objective, constraints, 0.2 * time_limit, seed
    )
    best = solve_problem(problem)
    noises = _noises(matrix, objective, replicates, n_replicates, seed)
    noisy = [_with_noise(problem, noise) for noise in noises]
    solved = _solutions(noisy, began + 0.6 * time_limit)
    groupings = [_rescored(problem, grouping) for _, grouping in solved]
    noise_only = [replace(problem, scores=noise) for noise in noises]
    leads = [score for score, _ in _solutions(noise_only, began + time_limit)]
    keys = [_key(grouping) for _, grouping in groupings]
    served_by = np.array(
        [
            [next(i for i, network in enumerate(key) if task in network) for task in problem.tasks]
            for key in keys
        ]
    )  # replicate task
    together = (served_by[:, :, None] == served_by[:, None, :]).mean(axis=0)
    order = [problem.tasks.index(task) for task in matrix.tasks]
    return Stability(
        tasks=matrix.tasks,
        grouping=best,
        frequency=float(np.mean([key == _key(best) for key in keys])),
        together=together[np.ix_(order, order)],
        runners_up=tuple(_runners_up(problem, best, groupings, keys, n_runners_up)),
        all_in_one=_contrast(problem, best, noises, leads, is_separate=False),
        separate=_contrast(problem, best, noises, leads, is_separate=True),
        n_replicates=len(groupings),
    )


def _noises(
    matrix: AffinityMatrix,
    objective: GroupingObjective,
    replicates: Sequence[AffinityMatrix] | None,
    n_replicates: int,
    seed: int,
) -> list[Pairs]:
    """Errors of the affinities, as the solvers read them."""
    check_number("n_replicates", n_replicates, "too-few-replicates", least=1)
    if replicates is not None:
        if any(set(each.tasks) != set(matrix.tasks) for each in replicates) or not replicates:
            raise InputError(
                f"Expected replicates of the tasks {list(matrix.tasks)}.", "different-tasks"
            )
        drawn = [objective.pairs(replicate) for replicate in replicates]
        onto = np.mean([pairs.onto for pairs in drawn], axis=0)
        lone = np.mean([pairs.lone for pairs in drawn], axis=0)
        return [replace(p, onto=p.onto - onto, lone=p.lone - lone) for p in drawn]
    if matrix.standard_error is None:
        raise InputError(
            "Expected a matrix with standard errors, or replicates, but got neither.",
            "no-standard-errors",
        )
    errors = matrix.standard_error.detach().to(device="cpu", dtype=torch.float64)
    off_diagonal = ~torch.eye(len(matrix.tasks), dtype=torch.bool)
    if objective.unknown is not None:
        errors = torch.where(matrix.values.isnan(), 0.0, errors)
    if objective.lone != "diagonal":
        errors = torch.where(off_diagonal, errors, 0.0)
    if not errors.isfinite().all() or (errors < 0).any():
        raise InputError(
            "Expected finite standard errors of at least 0 for every pair.", "no-standard-errors"
        )
    generator = torch.Generator().manual_seed(seed)
    keeps_lone = objective.lone in ("diagonal", "forbidden")
    of_noise = replace(objective, lone=objective.lone if keeps_lone else 0.0)
    return [
        of_noise.pairs(
            AffinityMatrix(
                matrix.tasks,
                errors * torch.randn(errors.shape, generator=generator, dtype=torch.float64),
            )
        )
        for _ in range(n_replicates)
    ]


def _with_noise(problem: GroupingProblem, noise: Pairs) -> GroupingProblem:
    pairs = problem.pairs
    noisy = replace(pairs, onto=pairs.onto + noise.onto, lone=pairs.lone + noise.lone)
    return replace(problem, scores=noisy)


def _solutions(
    problems: Sequence[GroupingProblem], deadline: float
) -> Iterator[tuple[float, Grouping]]:
    """Score and best grouping of the first replicate, and of more until the time limit."""
    first = problems[0]
    has_costs = first.budget.cost is not None
    if not has_costs and len(first.units) <= _MOST_AT_ONCE:
        values = np.stack([serving_values(problem) for problem in problems])
        partitions = BestPartitions(values, first.n_networks)
        scores = partitions.scores[..., 0]  # number replicate
        if first.budget.exactly:
            scores[:-1] = -np.inf
        for replicate, problem in enumerate(problems):
            served = partitions.served(int(scores[:, replicate].argmax()), replicate)
            yield grouping_of(problem, served, "replicate")
        return
    for problem in problems:
        quick = LocalSearch(perturbations=0)
        grouping = solve_problem(problem) if has_costs else quick(problem)
        yield float(grouping.score or 0.0), grouping
        if time.perf_counter() > deadline:
            return


def _rescored(problem: GroupingProblem, grouping: Grouping) -> tuple[float, Grouping]:
    """The score and grouping of `problem` with the served tasks of a replicate's `grouping`.

    Helpers are chosen again if they cost nothing.
    """
    if problem.budget.cost is not None:
        index = {task: position for position, task in enumerate(problem.tasks)}
        score = sum(
            problem.pairs.score(
                sorted(index[task] for task in network.trained),
                sorted(index[task] for task in network.served),
            )
            for network in grouping.networks
        )
        return score, replace(grouping, score=score, bound=None)
    unit_of = {problem.tasks[t]: unit for unit, ts in enumerate(problem.units) for t in ts}
    served = [sorted({unit_of[task] for task in network.served}) for network in grouping.networks]
    return grouping_of(problem, served, "replicate")


def _runners_up(
    problem: GroupingProblem,
    best: Grouping,
    groupings: list[tuple[float, Grouping]],
    keys: list[frozenset[frozenset[str]]],
    number: int,
) -> list[RunnerUp]:
    """The best other groupings: among all if feasible, else among those of the replicates."""
    others = {_key(grouping): (score, grouping) for score, grouping in groupings}
    if len(problem.units) <= _MOST_AT_ONCE and problem.budget.cost is None:
        for score, grouping in best_partitions(problem, number + 1):
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
    problem: GroupingProblem,
    best: Grouping,
    noises: list[Pairs],
    leads: list[float],
    is_separate: bool,
) -> Contrast | None:
    def baseline(pairs: Pairs) -> float:
        tasks = range(len(pairs.tasks))
        if is_separate:
            return sum(pairs.score([task], [task]) for task in tasks)
        return pairs.score(tasks, tasks)

    score = baseline(problem.pairs)
    if not np.isfinite(score) or best.score is None:
        return None
    difference = best.score - score
    reached = sum(
        lead - baseline(noise) >= difference - 1e-12
        for noise, lead in zip(noises, leads, strict=False)  # fewer leads if time ran out
    )
    return Contrast(difference, (1 + reached) / (1 + len(leads)))


def _key(grouping: Grouping) -> frozenset[frozenset[str]]:
    return frozenset(network.served for network in grouping.networks)
