"""All stages, one after the other: from a source to the page."""

from pathlib import Path

from affinity.audit import Audit, TrainedPlan
from affinity.cli.work import Work

from .diagnose import diagnosed
from .estimate import estimated
from .group import grouped
from .record import recorded
from .report import reported
from .retrain import chosen_plan, retrained


def audited(
    work: Work,
    *,
    keep: bool = False,
    backend: str | None = None,
    with_causes: bool = False,
    quick: bool = False,
) -> tuple[Audit, Path]:
    """The audit, and its page; `with_causes` finds those of harm, too, `quick` leaves out the slow.

    Raises:
        InputError: If networks are to be kept, and the problem is no table; before any training.
    """
    if keep:
        TrainedPlan.encoder_of(work.problem)
    trace = recorded(work)
    matrix = estimated(work, trace)
    if work.options.plan is None:
        plan = grouped(work, matrix, trace)
    else:
        plan = chosen_plan(work, work.options.plan)
    audit = retrained(work, plan, keep=keep, backend=backend)
    if with_causes:
        diagnosed(work, quick=quick)
    return audit, reported(work, audit)
