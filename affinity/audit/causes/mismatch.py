"""Mismatch: tasks need different features, even with a large and well trained trunk."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from affinity.errors import InputError
from affinity.grouping import Grouping, Network
from affinity.recommendation import Plan
from affinity.sharing import Branched, Head, SharingSettings, Trunk
from affinity.sharing.sharing import stages_of
from affinity.statistics import NegativeTransferTest
from affinity.tasks import Task
from affinity.training.protocol import Setting
from affinity.words import listed

from .context import DiagnosisContext
from .intervention import CauseResult, Intervention
from .optimization import EPOCHS_FACTOR, by_loss_scale


@dataclass(frozen=True)
class Mismatch:
    """Remove the other causes together and report the remaining harm as mismatch; then share less.

    The remaining harm is measured in trunks of several times the width, trained longer with losses
    on one scale. Ways to share less are measured with the plan's own width and settings.

    Args:
        factor: Multiple of the width.
    """

    factor: int = 4

    def __call__(self, context: DiagnosisContext) -> CauseResult:
        """Train with the other causes removed, then with less sharing."""
        if not context.shares:
            return CauseResult("mismatch", skipped=("no two tasks share a network",))
        left, still_harmed = self._remaining(context)
        apart = still_harmed or context.harmed or (_most_harmed(context),)
        changes, skipped = [left], []
        try:
            changes += _branch(context)
        except InputError as error:
            skipped.append(f"branching: {error}")
        plans = {
            f"{listed(apart)} apart": (
                _separate_tasks(context.plan, apart),
                f"train {listed(apart)} apart",
            ),
            "share as planned": (context.instead, "train as planned"),
            "share nothing": (context.separate, "train every task separately"),
        }
        tried: list[Grouping] = [context.plan.grouping]
        less: list[tuple[str, str, Plan]] = []
        for name, (plan, advice) in plans.items():
            if plan is not None and plan.grouping not in tried:
                tried.append(plan.grouping)
                less.append((name, advice, plan))
        trained = context.losses_of_each([(plan, {}) for _, _, plan in less])
        changes += [
            context.intervention(name, advice, losses, decides=False)
            for (name, advice, _), losses in zip(less, trained, strict=True)
        ]
        harm = context.format(left.on("evaluation", context.concerned))
        evidence = (
            f"{left.advice[:1].upper()}{left.advice[1:]}, a harm of {harm} of the separate "
            "networks' loss remains, compared with separate networks changed in the same way"
            + (f"; still harmed: {listed(still_harmed)}." if still_harmed else ".")
        )
        return CauseResult("mismatch", (evidence,), tuple(changes), tuple(skipped))

    def _remaining(self, context: DiagnosisContext) -> tuple[Intervention, tuple[str, ...]]:
        """The harm with the other causes removed, and the tasks that are still harmed."""
        settings: dict[str, Setting] = {}
        weights: dict[str, Setting] = {}
        how: list[str] = []
        if context.offers("width"):
            settings["width"] = float(self.factor)
            how.append(f"in trunks of {self.factor} times the width")
        if context.offers("length"):
            settings["length"] = EPOCHS_FACTOR
            how.append(f"trained {EPOCHS_FACTOR} times as long")
        if context.own is not None:
            weights["weights"] = by_loss_scale(context.own.problem)
            how.append("with losses on one scale")
        joint, alone = context.losses_of_each(
            [(context.plan, {**settings, **weights}), (context.separate, settings)]
        )
        left = Intervention(
            "what is left", " ".join(how), *context.harm(joint, alone), is_remedy=False
        )
        if joint.unknown.any() or alone.unknown.any() or joint.evaluation.isnan().all():
            return left, ()
        verdicts = NegativeTransferTest()(context.gains(joint, alone))
        return left, tuple(each.task for each in verdicts if each.verdict == "harmful")


def _branch(context: DiagnosisContext) -> list[Intervention]:
    """The plan with trunks that branch, once per stage after which they can branch."""
    if context.own is None:
        return []
    with torch.random.fork_rng():
        n_stages = len(stages_of(context.own.problem.trunk(), "branching"))
    changes: list[Intervention] = []
    for stage in range(1, n_stages):

        def make(
            tasks: tuple[Task, ...], trunk: Trunk, head: Head, _: Tensor, after: int = stage
        ) -> Branched:
            return Branched(tasks, trunk, head, after)

        name = f"branch after layer {stage}"
        trainer = replace(context.own, ways={name: make})
        joint = context.losses(context.plan, trainer=trainer, sharing=name)
        changes.append(context.intervention(name, name, joint, decides=False))
    return changes


def _most_harmed(context: DiagnosisContext) -> str:
    harm = np.nanmean(context.harm(context.joint)[0], axis=0)
    return context.names[int(np.nanargmax(harm))]


def _separate_tasks(plan: Plan, apart: Sequence[str]) -> Plan:
    """The plan with these tasks in networks of their own."""
    networks: list[Network] = [Network.of(task) for task in apart]
    sharing: list[str] = ["separate"] * len(apart)
    settings: list[SharingSettings] = [{} for _ in apart]
    for network, how, how_exactly, _ in plan.parts:
        served, trained = network.served - set(apart), network.trained - set(apart)
        if served:
            networks.append(Network(trained=trained, served=served))
            sharing.append(how if len(trained) > 1 else "separate")
            settings.append(how_exactly if len(trained) > 1 else {})
    return Plan(
        Grouping(tuple(networks)),
        tuple(sharing),
        ("",) * len(networks),
        width=plan.width,
        settings=tuple(settings),
    )
