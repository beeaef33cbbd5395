"""All stages, one after the other: from a source to the report."""

from pathlib import Path

from affinity.audit import TrainedPlan
from affinity.cli.console import print_note
from affinity.cli.options import AuditOptions
from affinity.cli.run import Run
from affinity.errors import InputError
from affinity.recommendation import Plan
from affinity.words import clock

from .diagnose import diagnose_stage
from .estimate import estimate_stage
from .group import group_stage, share
from .record import record_stage
from .report import report_stage
from .retrain import find_plan, retrain_stage


def run_stages(run: Run, options: AuditOptions) -> Path:
    """Run what is not up to date, and return the report's path."""
    settings = run.settings
    if settings.plan not in (None, "all-in-one") and settings.sharing not in (None, "hard"):
        raise InputError(
            f"Expected --sharing with a plan that is found, or --plan all-in-one, but got --plan "
            f"{settings.plan} --sharing {settings.sharing}: a plan file says itself how the tasks "
            "of each network share (sharing: NAME).",
            "unused-option",
        )
    if options.save_models:
        TrainedPlan.encoder_of(run.problem)
    run.plan_time()
    record_stage(run)
    run.correct_time_plan()
    estimate_stage(run)
    if settings.plan is None:
        plan = group_stage(run)
    else:
        plan = find_plan(run, settings.plan)
        plan = share(run, plan) if settings.plan == "all-in-one" else plan
    run.correct_time_plan(_count_own(plan))
    retrain_stage(run, plan, options, is_given=settings.plan is not None)
    if options.diagnose:
        with run.stopwatch.stopped():  # the time limit does not hold for a diagnosis
            diagnose_stage(run, quick=options.quick)
    page = report_stage(run)
    if run.time_plan is not None and (over := run.seconds_over_limit()) > 0:
        limit = 60 * run.time_plan.minutes
        text = f"The audit took {clock(limit + over)} min, its time limit was {clock(limit)} min."
        print_note(run.console, text)
    return page


def _count_own(plan: Plan) -> int:
    """The number of a plan's networks that neither separate networks nor all-in-one hold."""
    n_tasks, networks = len(plan.grouping.tasks), plan.grouping.networks
    return sum(
        not network.is_alone and (len(network.trained) < n_tasks or sharing != "hard")
        for network, sharing in zip(networks, plan.sharing, strict=True)
    )
