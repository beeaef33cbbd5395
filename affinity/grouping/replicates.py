"""Replicates: a request with its affinities drawn again, and its solution."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch

from affinity.errors import InputError
from affinity.estimates import AffinityMatrix

from .dynamic_programming import BestPartitions
from .every_partition import MOST_UNITS, EveryPartition
from .grouping import Grouping
from .grouping_problem import GroupingProblem
from .local_search import LocalSearch
from .objective import GroupingObjective
from .pairs import Pairs
from .serving import grouping_of, serving_values
from .solve import solve_request

_AT_ONCE = 12  # units: up to here all replicates are solved exactly and together


def noises_of(
    matrix: AffinityMatrix,
    objective: GroupingObjective,
    replicates: Sequence[AffinityMatrix] | None,
    n_replicates: int,
    seed: int,
) -> list[Pairs]:
    """Errors of the affinities, as the solvers read them.

    Raises:
        InputError: If there are neither standard errors nor replicates of the same tasks.
    """
    if n_replicates < 1:
        raise InputError(f"Expected at least 1 replicate, but got n_replicates={n_replicates}.")
    if replicates is not None:
        if any(set(each.tasks) != set(matrix.tasks) for each in replicates) or not replicates:
            raise InputError(f"Expected replicates of the tasks {list(matrix.tasks)}.")
        drawn = [objective.pairs(each) for each in replicates]
        onto = np.mean([each.onto for each in drawn], axis=0)
        lone = np.mean([each.lone for each in drawn], axis=0)
        return [replace(each, onto=each.onto - onto, lone=each.lone - lone) for each in drawn]
    if matrix.standard_error is None:
        raise InputError("Expected a matrix with standard errors, or replicates, but got neither.")
    errors = matrix.standard_error.detach().to(device="cpu", dtype=torch.float64)
    off_diagonal = ~torch.eye(len(matrix.tasks), dtype=torch.bool)
    if objective.unknown is not None:
        errors = torch.where(matrix.values.isnan(), 0.0, errors)
    if objective.lone != "diagonal":
        errors = torch.where(off_diagonal, errors, 0.0)
    if not errors.isfinite().all() or (errors < 0).any():
        raise InputError("Expected finite standard errors of at least 0 for every pair.")
    generator = torch.Generator().manual_seed(seed)
    is_own = objective.lone in ("diagonal", "forbidden")
    of_noise = replace(objective, lone=objective.lone if is_own else 0.0)
    return [
        of_noise.pairs(
            AffinityMatrix(
                matrix.tasks,
                errors * torch.randn(errors.shape, generator=generator, dtype=torch.float64),
            )
        )
        for _ in range(n_replicates)
    ]


def with_noise(request: GroupingProblem, noise: Pairs) -> GroupingProblem:
    """The same request of the scores with `noise` added."""
    pairs = request.pairs
    return replace(
        request,
        scores=replace(pairs, onto=pairs.onto + noise.onto, lone=pairs.lone + noise.lone),
    )


def solutions(
    requests: Sequence[GroupingProblem], deadline: float
) -> Iterator[tuple[float, Grouping]]:
    """Score and best grouping of each replicate: of the first, then while time lasts.

    Exact up to 12 units, 10 with costs in networks that do not overlap; else one by one, by local
    search where there are no costs.
    """
    first = requests[0]
    has_costs = first.budget.cost is not None
    if not has_costs and len(first.units) <= _AT_ONCE:
        values = np.stack([serving_values(request) for request in requests])
        found = BestPartitions(values, first.n_networks)
        scores = found.scores[-1:] if first.budget.exactly else found.scores
        for replicate, request in enumerate(requests):
            number = int(scores[:, replicate].argmax()) + len(found.scores) - len(scores)
            yield grouping_of(request, found.served(number, replicate), "replicate")
    elif has_costs and not first.may_help.any() and len(first.units) <= MOST_UNITS:
        partitions = EveryPartition(first)
        for request in requests:
            yield next(partitions.best(request))
    else:
        for request in requests:
            found = solve_request(request) if has_costs else LocalSearch(kicks=0)(request)
            yield float(found.score or 0.0), found
            if time.perf_counter() > deadline:
                return


def again(request: GroupingProblem, grouping: Grouping) -> tuple[float, Grouping]:
    """The score and grouping of `request` that serves as `grouping` of a replicate does.

    Helpers are chosen anew, where they cost nothing.
    """
    if request.budget.cost is not None:
        index = {task: position for position, task in enumerate(request.tasks)}
        score = sum(
            request.pairs.score(
                sorted(index[task] for task in network.trained),
                sorted(index[task] for task in network.served),
            )
            for network in grouping.networks
        )
        return score, replace(grouping, score=score, bound=None)
    unit_of = {request.tasks[t]: unit for unit, ts in enumerate(request.units) for t in ts}
    served = [sorted({unit_of[task] for task in network.served}) for network in grouping.networks]
    return grouping_of(request, served, "replicate")
