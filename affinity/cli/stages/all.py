"""All stages, one after the other: from a source to the page."""

from pathlib import Path

from affinity.audit import Audit
from affinity.cli.work import Work

from .estimate import estimated
from .group import grouped
from .record import recorded
from .report import reported
from .retrain import chosen_plan, retrained


def audited(work: Work, *, keep: bool = False, backend: str | None = None) -> tuple[Audit, Path]:
    """The audit, and its page."""
    trace = recorded(work)
    matrix = estimated(work, trace)
    if work.options.plan is None:
        plan = grouped(work, matrix, trace)
    else:
        plan = chosen_plan(work, work.options.plan)
    audit = retrained(work, plan, keep=keep, backend=backend)
    return audit, reported(work, audit)
