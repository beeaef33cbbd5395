"""Data: too few rows, so that separate networks overfit, or sharing has too little to go by."""

from dataclasses import dataclass, replace

import torch

from affinity.recommendation import Plan
from affinity.tasks import Replicate
from affinity.words import listed

from .cause_result import CauseResult
from .context import DiagnosisContext, Losses
from .intervention import Intervention


@dataclass(frozen=True)
class Data:
    """Trains on a part of the rows, and with more sharing.

    Harm on a part of the rows is a share of the loss that separate networks have on that part.

    What the last doubling of the rows recovered is about the most that another one would. Where
    harm grows with the rows, it is the lack of rows that makes sharing worth while.

    Args:
        shares: Of the training rows, growing; the whole is measured anyway.
    """

    shares: tuple[float, ...] = (0.25, 0.5)

    def __call__(self, case: DiagnosisContext) -> CauseResult:
        """Train on each part."""
        changes, curve, evidence = [], [], []
        for share in self.shares:
            fewer = [_part_of(replicate, share) for replicate in case.replicates]
            joint = case.losses(case.plan, replicates=fewer)
            alone = case.losses(case.separate, replicates=fewer)
            curve.append((share, joint, alone))
        curve.append((1.0, case.joint, case.alone))
        if case.shares:
            harms = [
                f"{case.said(joint, alone, alone)} at {share:.0%}" for share, joint, alone in curve
            ]
            evidence.append(f"Harm by sharing by the share of the training rows: {listed(harms)}.")
            share, joint, alone = curve[-2]
            before, after = case.harm(joint, alone, alone), case.harm(case.joint)
            changes.append(
                Intervention(
                    name=f"rows from {share:.0%} to all",
                    advice="gather more rows: harm fell as they grew",
                    evaluation=before[0] - after[0],
                    test=before[1] - after[1],
                    passes=1 / share,
                )
            )
        losses = [
            f"{float(alone.evaluation[:, case.concerned].nanmean()):.4g} at {share:.0%}"
            for share, _, alone in curve
        ]
        evidence.append(f"Loss of separate networks by the share of the rows: {listed(losses)}.")
        evidence.append(
            f"Loss on training rows against evaluation rows: {_gap(case, case.alone)} in separate "
            f"networks, {_gap(case, case.joint)} in the arrangement."
        )
        if len(case.plan.grouping.networks) > 1:
            more = case.losses(Plan.all_in_one(case.problem.names))
            changes.append(
                case.change(
                    "one network for all tasks",
                    "share more: train all tasks in one network",
                    more,
                )
            )
        return CauseResult("data", tuple(evidence), tuple(changes))


def _gap(case: DiagnosisContext, losses: Losses) -> str:
    ratios = losses.training.nanmean(dim=0) / losses.evaluation.nanmean(dim=0)
    return f"{100 * float(ratios[case.concerned].nanmean()) - 100:+.0f} %"


def _part_of(replicate: Replicate, share: float) -> Replicate:
    """The first of the training rows, which are in random order."""
    count = max(1, round(share * len(replicate.training)))
    return replace(replicate, training=replicate.training.take(torch.arange(count)))
