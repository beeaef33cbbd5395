"""Data: too few rows, on which the harm by sharing is measured as they grow."""

from dataclasses import dataclass

from affinity.words import in_percent, listed

from .context import DiagnosisContext
from .intervention import CauseResult, Intervention


@dataclass(frozen=True)
class Data:
    """Train on a part of the rows.

    Harm on a part of the rows is relative to the loss of separate networks trained on that part.
    Doubling the rows again would recover about as much as the last doubling did, or less. If harm
    grows with the number of rows, sharing is useful only when rows are few.

    Args:
        shares: Shares of the training rows, increasing; all rows are always measured, too.
    """

    shares: tuple[float, ...] = (0.25, 0.5)

    def __call__(self, context: DiagnosisContext) -> CauseResult:
        """Train on each part."""
        changes, curve, evidence, skipped = [], [], [], []
        if context.offers("rows"):
            parts = context.with_each("rows", self.shares)
            curve += [(share, *losses) for share, losses in zip(self.shares, parts, strict=True)]
        else:
            skipped.append("fewer rows: the trainer has no setting 'rows'")
        curve.append((1.0, context.joint, context.alone))
        if context.shares and len(curve) > 1:
            harms = [
                f"{context.format_harm(joint, alone, alone)} at {in_percent(share)}"
                for share, joint, alone in curve
            ]
            evidence.append(
                f"Harm by sharing, for each share of the training rows: {listed(harms)}."
            )
            share, joint, alone = curve[-2]
            before, after = context.harm(joint, alone, alone), context.harm(context.joint)
            changes.append(
                Intervention(
                    name=f"rows from {in_percent(share)} to all",
                    advice="gather more rows: harm fell as they grew",
                    evaluation=before[0] - after[0],
                    test=before[1] - after[1],
                    passes=1 / share,
                )
            )
        losses = [
            f"{float(alone.evaluation[:, context.concerned].nanmean()):.4g} at {in_percent(share)}"
            for share, _, alone in curve
        ]
        evidence.append(f"Loss of separate networks, for each share of the rows: {listed(losses)}.")
        return CauseResult("data", tuple(evidence), tuple(changes), tuple(skipped))
