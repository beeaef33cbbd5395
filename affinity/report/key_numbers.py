"""The key numbers below a page's headline."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from affinity.audit import Audit, RepeatedHoldout
from affinity.statistics import VerdictName
from affinity.tasks.score import MATTERS, GainUnit
from affinity.words import count

from .numbers import TIMES, gain_range, gain_text, number, tone

VERDICTS: tuple[VerdictName, ...] = ("beneficial", "neutral", "undecided", "harmful")


@dataclass(frozen=True)
class KeyNumber:
    """A number with its name, a note, and a tone: "helps", "harms" or none."""

    name: str
    value: str
    note: str
    tone: str = ""


@dataclass(frozen=True)
class VerdictCount:
    """How many tasks have a verdict, and how many tasks are drawn before them in a bar.

    "same" stands for tasks that the plan gives their separate network, "few" for tasks with too few
    test labels.
    """

    verdict: VerdictName | Literal["same", "few"]
    count: int
    start: int

    @property
    def words(self) -> str:
        """The verdict in words."""
        return {"same": "same as separate", "few": "too few labels"}.get(self.verdict, self.verdict)


def audit_numbers(audit: Audit, holdout: RepeatedHoldout | None = None) -> Iterator[KeyNumber]:
    """Gains, networks, parameters and replicates of an audit."""
    plan, separate = audit.candidates["plan"], audit.candidates["separate"]
    overall = audit.overall
    if "separate" not in audit.distinct["plan"]:
        yield gain_number("Mean gain, plan", overall.gain, overall.low, overall.high, overall.unit)
    if holdout is not None:
        mean = holdout.procedure("plan")
        name = f"Mean gain, plan, over {count(len(holdout.audits), 'test split')}"
        yield gain_number(name, mean.gain, mean.low, mean.high, overall.unit)
    if "all-in-one" not in audit.distinct["plan"]:
        overall = audit.overall_of("all-in-one")
        yield gain_number(
            "Mean gain, all-in-one", overall.gain, overall.low, overall.high, overall.unit
        )
    n_networks = len(plan.plan.grouping.networks)
    yield KeyNumber("Networks, plan", str(n_networks), f"for {count(len(audit.tasks), 'task')}")
    if separate.parameters:
        yield KeyNumber(
            "Parameters, plan",
            number(plan.parameters / separate.parameters, digits=2) + TIMES,
            f"{number(plan.parameters)}; separate: {number(separate.parameters)}",
        )
    yield KeyNumber(
        "Replicates", str(audit.gains.n_replicates), "each with a new data split and seed"
    )


def gain_number(
    name: str, gain: float | None, low: float | None, high: float | None, unit: GainUnit
) -> KeyNumber:
    """A mean gain with its interval."""
    note = gain_range(low, high, unit) or "no interval: one replicate"
    if unit == "common":
        note += f"; {MATTERS} is the difference that matters"
    return KeyNumber(name, gain_text(gain, unit), note, tone(low, high))


def count_verdicts(audit: Audit) -> list[VerdictCount]:
    """How many tasks have each verdict under the plan; verdicts that do not occur are left out."""
    same, few = audit.same_as_separate, audit.too_few_labels
    verdicts = [
        "same" if each.task in same else "few" if each.task in few else each.verdict
        for each in audit.verdicts.values()
    ]
    counts: list[VerdictCount] = []
    for name in (*VERDICTS, "same", "few"):
        if amount := verdicts.count(name):
            counts.append(VerdictCount(name, amount, sum(each.count for each in counts)))
    return counts
