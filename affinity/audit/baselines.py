"""Baselines: the plans that a plan is compared with, at equal width or equal parameters."""

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np
import torch

from affinity.errors import InputError, check_known
from affinity.grouping import Grouping, Network
from affinity.problems import NetworkTrainer, Problem
from affinity.recommendation import Plan
from affinity.sharing import HardSharing, Separate, Sharing, match_parameters

from .limitations import Limitation
from .trainings import CandidatePlan

RANDOM = "random"
SAME_SIZE = {
    "separate": "separate at equal parameters",
    "all-in-one": "all-in-one at equal parameters",
}
BASELINES = (RANDOM, *SAME_SIZE.values())  # optional: two more are always trained


def make_candidates(
    plan: Plan, problem: Problem, baselines: Sequence[str] = BASELINES
) -> tuple[dict[str, CandidatePlan], list[Limitation]]:
    """Candidates by name, and a note for each baseline that cannot be trained.

    - ``plan``: unchanged.
    - ``separate`` and ``all-in-one``: at the same width of the trunk.
    - ``random``: the plan with its tasks permuted, drawn again on every replicate. It has networks
      of the same sizes: the difference from the plan shows the effect of the choice of partners.
    - ``separate at equal parameters``, ``all-in-one at equal parameters``: as narrow or wide as
      needed to have as many parameters in total as the plan.
    """
    check_baselines(baselines)
    fixed = {
        "plan": plan,
        "separate": Plan.separate(problem.names),
        "all-in-one": Plan.all_in_one(problem.names),
    }
    left_out: list[Limitation] = []
    for name, title in SAME_SIZE.items():
        if title in baselines:
            try:
                fixed[title] = match_size(fixed[name], plan, problem)
            except InputError as error:
                message = f"The baseline {title!r} was left out. {error}"
                left_out.append(Limitation("baseline-left-out", message, candidate=title))
    candidates = {
        name: CandidatePlan.fixed(each, width=problem.width) for name, each in fixed.items()
    }
    if RANDOM in baselines:
        candidates[RANDOM] = CandidatePlan(
            lambda seed: permute_tasks(plan, seed), width=problem.width
        )
    return candidates, left_out


def check_baselines(baselines: Sequence[str], others: Collection[str] = ()) -> None:
    """Raise an error if a baseline is neither in `BASELINES` nor in `others`."""
    check_known("baselines", baselines, [*BASELINES, *others], "unknown-baseline")


def match_size(baseline: Plan, plan: Plan, problem: Problem) -> Plan:
    """Separate networks, or one for all, with as many parameters in total as the plan.

    An error if even width 1 costs more than twice as much.
    """
    trainer = NetworkTrainer(problem)
    budget = sum(
        parameter.numel()
        for _, job in CandidatePlan.fixed(plan, width=problem.width).jobs(seed=0)
        for parameter in trainer.make_network(job).parameters()
    )
    kind = HardSharing if len(baseline.grouping.networks) == 1 else Separate

    def network(width: int) -> Sharing:
        sized = problem.of_width(width)
        with torch.random.fork_rng():
            return kind(problem.tasks, sized.trunk, sized.head)

    width = match_parameters(network, budget)
    return replace(baseline, width=None if width == problem.width else width)


def permute_tasks(plan: Plan, seed: int) -> Plan:
    """The plan with its tasks randomly permuted."""
    names = sorted(plan.grouping.tasks)
    order = np.random.default_rng(seed).permutation(len(names))
    replacement = {name: names[place] for name, place in zip(names, order, strict=True)}

    def replaced(tasks: frozenset[str]) -> frozenset[str]:
        return frozenset(replacement[task] for task in tasks)

    networks = tuple(
        Network(trained=replaced(network.trained), served=replaced(network.served))
        for network in plan.grouping.networks
    )
    reasons = ("The plan with its tasks randomly permuted.",) * len(networks)
    return Plan(Grouping(networks), plan.sharing, reasons, width=plan.width, settings=plan.settings)
