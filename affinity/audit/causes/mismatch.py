"""Mismatch: tasks that want different things of what they share, however large and well trained."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from affinity.errors import InputError
from affinity.grouping import Grouping, Network
from affinity.recommendation import Plan
from affinity.sharing import Branched, Head, Trunk
from affinity.sharing.stages import stages_of
from affinity.statistics import Gains, NegativeTransferTest
from affinity.tasks import Task
from affinity.words import listed

from .cause_result import CauseResult
from .context import DiagnosisContext
from .intervention import Intervention
from .longer import LONGER, longer
from .loss_scale import by_loss_scale


@dataclass(frozen=True)
class Mismatch:
    """Takes the other causes away at once, and calls mismatch what is left; then shares less.

    What is left is the harm in trunks of several times the width, trained longer under losses on
    one scale. Ways to share less are measured in the arrangement as it is.

    Args:
        factor: Multiple of the width.
    """

    factor: int = 4

    def __call__(self, case: DiagnosisContext) -> CauseResult:
        """Train without the other causes, then with less sharing."""
        if not case.shares:
            return CauseResult("mismatch", skipped=("no two tasks share a network",))
        left, still_harmed = self._left(case)
        apart = still_harmed or case.harmed or (_worst(case),)
        changes, skipped = [left], []
        try:
            changes += _branched(case)
        except InputError as error:
            skipped.append(f"branching: {error}")
        plans = {
            f"{listed(apart)} apart": (_without(case.plan, apart), f"train {listed(apart)} apart"),
            "share as planned": (case.instead, "train as planned"),
            "share nothing": (case.separate, "train every task apart"),
        }
        tried: list[Grouping] = [case.plan.grouping]
        for name, (plan, advice) in plans.items():
            if plan is not None and plan.grouping not in tried:
                tried.append(plan.grouping)
                changes.append(case.change(name, advice, case.losses(plan), decides=False))
        harm = 100 * float(np.nanmean(left.on("evaluation", case.concerned)))
        evidence = (
            f"Of the harm {harm:+.1f} % of the separate networks' loss is left {left.advice}, "
            "beside separate networks changed alike"
            + (f"; still harmed: {listed(still_harmed)}." if still_harmed else "."),
        )
        return CauseResult("mismatch", evidence, tuple(changes), tuple(skipped))

    def _left(self, case: DiagnosisContext) -> tuple[Intervention, tuple[str, ...]]:
        """The harm without the other causes, and the tasks that are still harmed."""
        problem, how = case.problem, f"trained {LONGER} times as long with losses on one scale"
        if problem.width is not None and problem.parts is not None:
            problem = problem.of_width(self.factor * problem.width)
            how = f"in trunks of {self.factor} times the width {how}"
        settings = longer(problem.settings)
        weighted = replace(settings, objective=by_loss_scale(case.problem))
        joint = case.losses(case.plan, problem, weighted)
        alone = case.losses(case.separate, problem, settings)
        left = Intervention("what is left", how, *case.harm(joint, alone), is_remedy=False)
        gains = Gains(case.problem.names, joint.evaluation, alone.evaluation)
        judged = NegativeTransferTest()(gains)
        return left, tuple(each.task for each in judged if each.verdict == "harmful")


def _branched(case: DiagnosisContext) -> list[Intervention]:
    """The arrangement with trunks that branch, after each of their stages."""
    with torch.random.fork_rng():
        n_stages = len(stages_of(case.problem.trunk(), "branching"))
    changes: list[Intervention] = []
    for after in range(1, n_stages):

        def make(tasks: tuple[Task, ...], trunk: Trunk, head: Head, _: Tensor, at: int = after):
            return Branched(tasks, trunk, head, at)

        joint = case.losses(case.plan, make=make)
        name = f"branch after layer {after}"
        changes.append(case.change(name, name, joint, decides=False))
    return changes


def _worst(case: DiagnosisContext) -> str:
    harm = np.nanmean(case.harm(case.joint)[0], axis=0)
    return case.problem.names[int(np.nanargmax(harm))]


def _without(plan: Plan, apart: Sequence[str]) -> Plan:
    """The plan with these tasks in networks of their own."""
    networks: list[Network] = [Network.of(task) for task in apart]
    sharing: list[str] = ["separate"] * len(apart)
    for network, how in zip(plan.grouping.networks, plan.sharing, strict=True):
        served, trained = network.served - set(apart), network.trained - set(apart)
        if served:
            networks.append(Network(trained=trained, served=served))
            sharing.append(how if len(trained) > 1 else "separate")
    return Plan(Grouping(tuple(networks)), tuple(sharing), ("",) * len(networks))
