"""The commands: each takes its options, and imports what it needs when it is called."""

import shlex
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from affinity.errors import InputError
from affinity.files import write_atomically

from .console import (
    open_console,
    print_file,
    print_json,
    print_next,
    print_note,
    warnings_as_notes,
)
from .early_checks import (
    check_backend,
    check_columns,
    check_names,
    check_plan,
    check_run,
    check_settings_of_run,
    is_run,
    is_study,
)
from .options import (
    AuditOptions,
    CompareObjectivesOptions,
    CompareOptions,
    DiagnoseOptions,
    EstimateOptions,
    FewShotOptions,
    GroupOptions,
    JsonOptions,
    OutputOptions,
    PredictOptions,
    RecordOptions,
    ReportOptions,
    RetrainOptions,
    RunSettings,
    TransferOptions,
    VerdictOptions,
    select,
)

if TYPE_CHECKING:
    from affinity.audit import Audit

DEFAULTS = OutputOptions()
HARMED = 3  # exit code of --fail-on harmful if the plan harms a task, or the tasks on average


def audit(options: AuditOptions) -> int:
    """Find out which tasks should share a network, and how much that gains: all stages.

    Records one training of all tasks, estimates affinities, trains candidate groupings within the
    budget, and compares the best one with its baselines on new data splits. All results are kept in
    one folder: the same command continues a stopped run and repeats nothing that is up to date.

    For example:

      affinity audit digits
      affinity audit table.csv.gz --targets income,married,college --budget 2
      affinity audit long.parquet --task-column school --target score
      affinity audit visits.csv --targets click,buy --time-column day
      affinity audit digits --plan mine.yaml --fail-on harmful --junit audit.xml
      affinity audit table.csv --targets income,married,college --test-splits 5
    """
    called = time.monotonic()
    check_names(options)
    check_columns(options)
    check_backend(options.backend)
    check_plan(options.plan)
    from .repeated_holdout import check_test_splits, repeat_audit
    from .run import start_run
    from .stages.audit import run_stages
    from .summary import show_diagnosis, show_holdout

    settings = select(RunSettings, options)
    check_test_splits(settings, options.test_splits)
    with open_console(options.quiet, options.json) as console:
        with start_run(settings, options.out, console, called) as run:
            page = run_stages(run, options)
        print_audit(console, run.audit, options, options)
        if options.diagnose and run.diagnosis is not None:
            show_diagnosis(console, run.diagnosis)
        print_file(console, "Report", page)
        if options.test_splits is not None:
            holdout = repeat_audit(run, options, options.test_splits)
            show_holdout(console, holdout)
    return exit_code(console, run.audit, options)


def record(options: RecordOptions) -> None:
    """Train all tasks in one network and record gradients and lookahead losses per task.

    Writes trace.safetensors.

    For example:

      affinity record table.csv --targets income,married,college --out runs/census
    """
    check_names(options)
    check_columns(options)
    from .run import start_run
    from .stages.record import record_stage

    with (
        open_console(options.quiet) as console,
        start_run(select(RunSettings, options), options.out, console) as run,
    ):
        record_stage(run)
        print_next(console, "estimate", run.directory.path)


def estimate(options: EstimateOptions) -> None:
    """Estimate the task-affinity matrix with standard errors, of a run or of your own trace.

    Writes affinity.csv into a run's folder. Of a trace, prints the matrix.

    For example:

      affinity estimate runs/digits
      affinity estimate trace.safetensors
      affinity estimate trace.safetensors --method "gradient cosine" --out affinity.csv
    """
    options = replace(options, estimator=options.method or options.estimator)
    check_names(options)
    from .run import resume_run
    from .stages.estimate import estimate_stage
    from .trace_files import estimate_trace, refuse_out

    if options.run.is_file():
        with open_console(options.quiet, options.json) as console:
            estimate_trace(options, console)
        return
    refuse_out(options.out)
    with (
        open_console(options.quiet, options.json) as console,
        resume_run(options.run, console, options) as run,
    ):
        estimate_stage(run)
        if options.json:
            print(run.matrix.frame().to_json(orient="records"))
        print_next(console, "group", options.run)


def group(options: GroupOptions) -> None:
    """Group the tasks within a budget of networks.

    Writes plan.yaml, which you can edit, and frontier.csv: the best grouping for every budget.
    """
    from .run import resume_run
    from .stages.group import group_stage
    from .summary import show_plan

    with (
        open_console(options.quiet, options.json) as console,
        resume_run(options.run, console, options) as run,
    ):
        plan = group_stage(run)
        show_plan(console, plan)
        if options.json:
            print_json(plan.to_dict())
        print_next(console, "retrain", options.run)


def retrain(options: RetrainOptions) -> int:
    """Train a plan and its baselines, and compare them on the test rows.

    Writes audit.json. The plan is the run's plan.yaml, edited or not, or another: --plan mine.yaml.
    """
    check_backend(options.backend)
    check_plan(options.plan)
    from .run import resume_run
    from .stages.retrain import find_plan, retrain_stage

    with (
        open_console(options.quiet, options.json) as console,
        resume_run(options.run, console, options) as run,
    ):
        plan = find_plan(run, options.plan)
        retrain_stage(run, plan, options, is_given=options.plan is not None)
        print_audit(console, run.audit, options, options)
        if options.save_models:
            folder = escape(shlex.quote(str(options.run)))
            console.print(f"Predict with it: affinity predict {folder} new.csv", soft_wrap=True)
        print_next(console, "report", options.run)
    return exit_code(console, run.audit, options)


def diagnose(options: DiagnoseOptions) -> None:
    """Diagnose negative transfer by removing possible causes one by one.

    Capacity (wider trunks), optimization (loss scales, learning rates, conflicts), data (fewer
    rows) and task mismatch (branches, separate networks): what each intervention recovers and
    costs. Writes diagnosis.json.
    """
    check_plan(options.plan)
    from .run import resume_run
    from .stages.diagnose import diagnose_stage
    from .summary import show_diagnosis

    with (
        open_console(options.quiet, options.json) as console,
        resume_run(options.run, console) as run,
    ):
        diagnose_stage(run, options.plan, options.replicates, options.quick)
        if run.diagnosis is not None:
            show_diagnosis(console, run.diagnosis)
            if options.json:
                print(run.diagnosis.to_json())
        print_next(console, "report", options.run)


def report(options: ReportOptions) -> None:
    """Write the report, one self-contained page, or a page that compares two runs.

    Writes report.html, and figures/ with --png, --pdf or --svg. Of a trace: affinity, conflict by
    layer and over time, what the tasks share, and what recording cost.

    For example:

      affinity report runs/digits
      affinity report trace.safetensors
    """
    if not options.run.is_file():
        check_run(options.run)
    from .compare import write_comparison_page
    from .run import resume_run
    from .stages.report import report_stage
    from .trace_files import refuse_out, report_trace

    if options.run.is_file():
        with open_console(options.quiet) as console:
            report_trace(options, console)
        return
    refuse_out(options.out)
    with open_console(options.quiet) as console, resume_run(options.run, console) as run:
        if options.run_b is not None:
            page = write_comparison_page(options.run, options.run_b)
            print_file(console, "Comparison", page)
            return
        formats = [name for name in ("png", "pdf", "svg") if getattr(options, name)]
        print_file(console, "Report", report_stage(run, formats))


def compare_objectives(options: CompareObjectivesOptions) -> None:
    """Compare the ways to combine the losses of several tasks, in one table.

    Trains one network for all tasks (or --plan) with each objective on the same replicates: its
    gains over separate networks with intervals, its gain over the sum of the losses, and the time
    of a training step. Writes objectives.json; `affinity report` shows the table.

    For example:

      affinity compare-objectives digits --objectives sum,uncertainty,gradnorm
      affinity compare-objectives runs/digits --plan runs/digits/plan.yaml
    """
    check_names(options)
    check_plan(options.plan)
    if continues := is_run(options.source):
        check_settings_of_run(options)
    else:
        check_columns(options)
    from .run import resume_run, start_run
    from .stages.objectives import objectives_stage
    from .summary import show_objectives

    with open_console(options.quiet, options.json) as console:
        if continues:
            opened = resume_run(Path(options.source), console)
        else:
            opened = start_run(select(RunSettings, options), options.out, console)
        with opened as run:
            comparison = objectives_stage(run, options.plan, options.replicates, options.objectives)
            show_objectives(console, comparison)
            if options.json:
                sys.stdout.write(comparison.to_json())
            if run.directory.finished("retrain") is not None:
                print_next(console, "report", run.directory.path)


def compare(options: CompareOptions) -> None:
    """Compare two audits of the same tasks: other data, estimators or seeds."""
    for folder in (options.run_a, options.run_b):
        if not is_study(folder):
            check_run(folder)
    from .compare import compare_runs, show_comparison

    with open_console(is_error=options.json) as console:
        comparison = compare_runs(options.run_a, options.run_b)
        show_comparison(console, comparison)
        if options.json:
            print_json(comparison)


def predict(options: PredictOptions) -> None:
    """Predict new rows with the networks saved by `audit --save-models`.

    Also with those of `retrain --save-models`.
    """
    from affinity.audit import TrainedPlan

    from .run import use_one_thread
    from .run_directory import TRAINED, RunDirectory

    use_one_thread()
    directory = RunDirectory(options.run)
    if TRAINED not in directory.require("retrain").outputs:
        raise InputError(
            f"Expected trained networks in {str(options.run)!r}, but none were saved. Save them: "
            f"affinity retrain {shlex.quote(str(options.run))} --save-models",
            "no-saved-models",
        )
    plan = TrainedPlan.load(directory.file(TRAINED))
    with open_console(is_error=True) as console, warnings_as_notes(console):
        table = plan.read(options.table)
        for note in table.notes:
            print_note(console, note.message, is_warning=note.severity != "note")
        text = plan(table.frame).to_csv(index=False)
        if options.out is None:
            sys.stdout.write(text)
        else:
            print_file(console, "Predictions", write_atomically(options.out, text))


def transfer(options: TransferOptions) -> None:
    """Find out which source to pretrain on for each task, and how much that gains.

    Trains a network on each source, tunes it for each target, and compares it with the target
    trained from scratch and with pretraining on the target's own inputs, on the same replicates.
    Writes transfer.json, transfer.csv and transfer.html.

    For example:

      affinity transfer digits
      affinity transfer digits --from odd --from prime --to loop --rows 25,50,100,200
      affinity transfer table.csv --targets a,b,c --recipe best --joint
      affinity transfer digits --recipe "gradual unfreezing" --plan-only
    """
    check_names(options)
    check_columns(options)
    from .run import start_run
    from .run_directory import TRANSFER_PAGE
    from .stages.transfer import transfer_stage, write_tuning_plan
    from .transfer_summary import show_transfer, write_pictures

    with (
        open_console(options.quiet, options.json) as console,
        start_run(select(RunSettings, options), options.out, console) as run,
    ):
        if options.plan_only:
            file = shlex.quote(str(write_tuning_plan(run, options)))
            source = shlex.quote(options.source)
            console.print(
                f"Wrote {escape(file)}. Edit it, then run: affinity transfer {escape(source)} "
                f"--tuning-plan {escape(file)}",
                soft_wrap=True,
            )
            return
        summary = transfer_stage(run, options)
        show_transfer(console, summary)
        print_file(console, "Report", run.directory.file(TRANSFER_PAGE))
        if options.png:
            write_pictures(run, summary)
        if options.json:
            print_json(summary)


def fewshot(options: FewShotOptions) -> None:
    """Compare methods that learn new tasks from few rows: meta-learning, pretraining, from scratch.

    Some classes (or tasks) are used for learning, others for the meta-test. Every method learns
    from the same meta-training tasks and is evaluated on the same meta-test tasks, with 95 %
    intervals.

    For example:

      affinity fewshot digits --ways 3 --shots 1,5 --test-classes 7,8,9
      affinity fewshot plants.csv --target species --ways 5 --shots 1,5
      affinity fewshot school.csv.gz --task-column school --target score --shots 5,10
      affinity fewshot sines --shots 5,10
    """
    check_names(options)
    from .few_shots import compare_methods, show_result, write_result
    from .run import use_one_thread

    use_one_thread()
    with open_console(options.quiet, options.json) as console:
        result = compare_methods(options, console)
        show_result(console, result)
        for path in write_result(result, options.out) if options.out is not None else ():
            print_file(console, "Wrote", path)
        if options.json:
            print_json(result.summary())


def problems(options: OutputOptions = DEFAULTS) -> None:
    """List the built-in problems, estimators, solvers, ways to share, methods and recipes."""
    from .registries import show_registries

    del options
    show_registries(Console())


def schema(options: OutputOptions = DEFAULTS) -> None:
    """Print the JSON Schema of audit.json and of the result inside the report."""
    from affinity.report import schema as make_schema

    del options
    print_json(make_schema(), indent=1)


def print_audit(
    console: Console, audit: "Audit", output: JsonOptions, verdicts: VerdictOptions
) -> None:
    """Print the audit, and write the requested files."""
    from .junit import write_junit
    from .summary import show_audit

    show_audit(console, audit)
    if output.json:
        sys.stdout.write(audit.to_json())
    if verdicts.junit is not None:
        print_file(console, "JUnit", write_junit(audit, verdicts.junit))


def exit_code(console: Console, audit: "Audit", options: VerdictOptions) -> int:
    """0, or `HARMED` if --fail-on requires it."""
    from affinity.audit.alert import quote_names

    harmed = [
        task for task, verdict in audit.verdicts.items() if verdict.verdict == options.fail_on
    ]
    if options.fail_on is None or not (harmed or audit.overall.verdict == options.fail_on):
        return 0
    what = escape(quote_names(harmed)) if harmed else "the tasks on average"
    console.print(f"[bold red]The plan harms {what}.[/bold red]")
    return HARMED
