"""Baselines: what a plan stands beside, at equal width and at equal parameters."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch

from affinity.errors import InputError
from affinity.grouping import Grouping, Network
from affinity.problems import Problem
from affinity.recommendation import Plan
from affinity.sharing import HardSharing, Separate, Sharing, match_parameters

from .limitations import Limitation
from .measure import network_of, ways_of

RANDOM = "random"
SAME_SIZE = {
    "separate": "separate at equal parameters",
    "all-in-one": "all-in-one at equal parameters",
}
BASELINES = (RANDOM, *SAME_SIZE.values())
"""Baselines that can be left out; separate networks and all-in-one always stand beside a plan."""

PlanOn = Callable[[int], Plan]
"""The seed of a replicate to the plan that is trained on it."""


def arrangements_for(
    plan: Plan, problem: Problem, baselines: Sequence[str] = BASELINES
) -> tuple[dict[str, PlanOn], list[Limitation]]:
    """By name what an audit trains, and which baselines it cannot train.

    - ``plan``: as it stands.
    - ``separate`` and ``all-in-one``: at the same width of the trunk.
    - ``random``: the plan with its tasks in other places, drawn anew on every replicate: as many
      networks of the same sizes, so that it tells what the choice of partners is worth.
    - ``separate at equal parameters``, ``all-in-one at equal parameters``: as narrow or wide as it
      takes to have as many parameters in total as the plan.

    Raises:
        InputError: If there is no such baseline.
    """
    if unknown := sorted(set(baselines) - set(BASELINES)):
        raise InputError(f"Expected baselines among {list(BASELINES)}, but got {unknown}.")
    fixed = {
        "plan": plan,
        "separate": Plan.separate(problem.names),
        "all-in-one": Plan.all_in_one(problem.names),
    }
    left_out: list[Limitation] = []
    for name, title in SAME_SIZE.items():
        if title in baselines:
            try:
                fixed[title] = of_equal_size(fixed[name], plan, problem)
            except InputError as error:
                message = f"The baseline {title!r} was left out. {error}"
                left_out.append(Limitation("baseline-left-out", message, candidate=title))
    found: dict[str, PlanOn] = {name: _always(each) for name, each in fixed.items()}
    if RANDOM in baselines:
        found[RANDOM] = lambda seed: shuffled(plan, seed)
    return found, left_out


def of_equal_size(baseline: Plan, plan: Plan, problem: Problem) -> Plan:
    """Separate networks, or one for all, with as many parameters in total as the plan.

    Raises:
        InputError: If the problem cannot be made at other widths, or even width 1 costs more than
            twice as much.
    """
    budget = sum(
        parameter.numel()
        for _, way in ways_of(plan)
        for parameter in network_of(problem, way).parameters()
    )
    kind = HardSharing if len(baseline.grouping.networks) == 1 else Separate

    def network(width: int) -> Sharing:
        at = problem.of_width(width)
        with torch.random.fork_rng():
            return kind(problem.tasks, at.trunk, at.head)

    width = match_parameters(network, budget)
    return replace(baseline, width=None if width == problem.width else width)


def shuffled(plan: Plan, seed: int) -> Plan:
    """The plan with its tasks in each other's places.

    Example:
        >>> grouping = Grouping((Network.of("a", "b", "c"), Network.of("d")))
        >>> plan = Plan(grouping, ("hard", "separate"), ("", ""))
        >>> [len(network.served) for network in shuffled(plan, seed=1).grouping.networks]
        [3, 1]
    """
    names = sorted(plan.grouping.tasks)
    order = np.random.default_rng(seed).permutation(len(names))
    place = {name: names[at] for name, at in zip(names, order, strict=True)}

    def moved(tasks: frozenset[str]) -> frozenset[str]:
        return frozenset(place[task] for task in tasks)

    networks = tuple(
        Network(trained=moved(network.trained), served=moved(network.served))
        for network in plan.grouping.networks
    )
    reasons = ("The plan with its tasks in random places.",) * len(networks)
    return Plan(Grouping(networks), plan.sharing, reasons, width=plan.width)


def _always(plan: Plan) -> PlanOn:
    return lambda _: plan
