"""All stages, one after the other: from a source to the report."""

from pathlib import Path

from affinity.audit import TrainedPlan
from affinity.cli.options import AuditOptions
from affinity.cli.run import Run

from .diagnose import diagnose_stage
from .estimate import estimate_stage
from .group import group_stage
from .record import record_stage
from .report import report_stage
from .retrain import find_plan, retrain_stage


def run_stages(run: Run, options: AuditOptions) -> Path:
    """Run what is not up to date, and return the report's path.

    Raises:
        InputError: If networks are to be saved and the problem is not a table; before any training.
    """
    if options.save_models:
        TrainedPlan.encoder_of(run.problem)
    run.plan_time()
    record_stage(run)
    run.correct_time_plan()
    estimate_stage(run)
    plan = group_stage(run) if run.settings.plan is None else find_plan(run, run.settings.plan)
    run.correct_time_plan(len(plan.grouping.networks))
    retrain_stage(run, plan, options, is_given=run.settings.plan is not None)
    if options.diagnose:
        diagnose_stage(run, quick=options.quick)
    return report_stage(run)
