"""Measure ways to share: the networks of a grouping trained in each way, all of one size."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from affinity.errors import InputError
from affinity.grouping import Grouping, Network
from affinity.problems import Problem
from affinity.recommendation import MeasuredSharing, Plan
from affinity.sharing import SHARINGS
from affinity.statistics import Gains
from affinity.tasks import Replicate
from affinity.training import TrainedNetwork

from .gates import Gates
from .measure import Measured, Part, Way, measure

WAYS = tuple(name for name, method in SHARINGS.items() if method.is_default)


def measure_sharing(
    problem: Problem,
    grouping: Grouping,
    replicates: int = 6,
    *,
    seed: int = 1,
    ways: Sequence[str] = WAYS,
    store: str | Path | None = None,
) -> dict[frozenset[str], tuple[MeasuredSharing, ...]]:
    """Train every network of several tasks in every way to share; for `recommend(measured=...)`.

    All have about as many parameters as the hard-shared one (`at_equal_size`), and see the same
    rows in the same order. A mixture of experts is vetoed where the gate of a task takes a single
    expert, or two experts are the same, on at least half of the replicates. Ways that the trunk
    does not allow (cross-stitch without stages) are left out.

    Args:
        problem: Tasks, rows, trunk and heads.
        grouping: Which networks.
        replicates: How many resamplings of rows and seeds.
        seed: Decides the replicates.
        ways: Which ways; hard sharing is always among them.
        store: A folder in which finished trainings are kept.

    Raises:
        InputError: If there is no replicate.
    """
    if replicates < 1:
        raise InputError(f"Expected at least one replicate, but got {replicates}.")
    draws = problem.replicates(replicates, seed)
    return {
        network.trained: _of_network(problem, network, draws, ways, store)
        for network in grouping.networks
        if not network.is_alone
    }


def _of_network(
    problem: Problem,
    network: Network,
    replicates: Sequence[Replicate],
    ways: Sequence[str],
    store: str | Path | None,
) -> tuple[MeasuredSharing, ...]:
    hard = _trained(problem, network, "hard", replicates, store)
    found: list[MeasuredSharing] = []
    for sharing in dict.fromkeys(("hard", *ways)):
        try:
            other = _trained(problem, network, sharing, replicates, store)
        except InputError:  # does not fit the trunk
            continue
        evaluation, test = (
            _gains(problem, network, sharing, other, hard, part)
            for part in ("evaluation_loss", "test_loss")
        )
        veto: str | None = None
        if sharing == "mmoe":
            (kept,) = other.trained(_alone(network, sharing))
            veto = _veto(problem, network, replicates, kept)
        found.append(MeasuredSharing(sharing, evaluation, test, veto))
    return tuple(found)


def _trained(
    problem: Problem,
    network: Network,
    sharing: str,
    replicates: Sequence[Replicate],
    store: str | Path | None,
) -> Measured:
    return measure([_alone(network, sharing)], problem, replicates, store=store)


def _alone(network: Network, sharing: str) -> Plan:
    return Plan(Grouping((network,)), (sharing,), ("",))


def _gains(
    problem: Problem,
    network: Network,
    sharing: str,
    other: Measured,
    hard: Measured,
    part: Part,
) -> np.ndarray:
    at = [place for place, name in enumerate(problem.names) if name in network.served]

    def scores(measured: Measured, way: str) -> Tensor:
        return measured.served(_alone(network, way), part)[:, at]

    names = tuple(problem.names[place] for place in at)
    return Gains(names, scores(other, sharing), scores(hard, "hard")).overall()


def _veto(
    problem: Problem,
    network: Network,
    replicates: Sequence[Replicate],
    kept: Sequence[TrainedNetwork],
) -> str | None:
    """What is wrong with a mixture, if it is on half of the replicates."""
    if n_diverged := sum(each.diverged is not None for each in kept):
        return f"its training diverged on {n_diverged} of {len(kept)} replicates"
    return Gates.of(problem, Way(network.trained, "mmoe"), kept, replicates).fault
