"""What should make a reader doubt that verdicts hold for other rows of the same kind."""

from affinity.audit import Audit, RepeatedHoldout
from affinity.audit.repeated_holdout import Followed

from .alert import Alert
from .numbers import percent, percent_range

CERTAIN = ("harmful", "beneficial")


def alerts_of_draws(audit: Audit, holdout: RepeatedHoldout | None) -> list[Alert]:
    """A verdict on all tasks that rests on one draw of the rows, or that others do not show."""
    advice = audit.advice
    followed: Followed = "plan" if advice == "separate" else "advice"
    name = "plan" if followed == "plan" else advice
    verdict = audit.overall_of(name).verdict
    if verdict not in CERTAIN:
        return []
    if holdout is None:
        return [
            Alert(
                "note",
                "Judged on one draw of the rows",
                f"That it is {verdict} on average holds for networks trained on these development "
                "rows. Other data of the same kind can say otherwise: where two ways differ by the "
                "luck of the development rows alone, one audit in seven finds a difference "
                "(reports/calibration). “affinity audit ... --outer 5” draws rows and plan anew.",
            )
        ]
    found = holdout.procedure(followed)
    if found.verdict == verdict:
        return []
    return [
        Alert(
            "serious" if found.verdict in CERTAIN else "warning",
            f"Not confirmed by other draws of the test rows: {found.verdict}",
            f"On this draw it is {verdict} on average. Decided and judged anew on each of "
            f"{len(holdout.audits)} draws the mean gain is {percent(found.gain)} "
            f"({percent_range(found.low, found.high)}). Trust the draws.",
        )
    ]
