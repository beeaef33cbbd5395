"""`affinity study`: which tasks should share, found with trainings by your own command."""

import json
import shlex
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from affinity.errors import InputError, check_known
from affinity.files import read_text_file, write_atomically
from affinity.words import count

from .console import Stopped, open_console, print_file, print_json
from .options import (
    AddOptions,
    AskOptions,
    AuditStudyOptions,
    CreateStudyOptions,
    DiagnoseStudyOptions,
    FailOptions,
    RetryOptions,
    RunStudyOptions,
    StatusOptions,
    TellOptions,
    WorkerOptions,
)

if TYPE_CHECKING:
    from affinity.estimates import AffinityMatrix
    from affinity.recording import Trace
    from affinity.study import Study
    from affinity.training import CommandTrainer


_PAGE_AGE = 30.0  # seconds


def create_study(options: CreateStudyOptions) -> None:
    """Create a study in a folder, or open it again with the same settings.

    For example:

      affinity study create runs/ranker --tasks click:maximize,watch:minimize --budget 2 \
--trainings 24
      affinity study create runs/toxicity --task "NR-AR > 1, mean:minimize" --task "SR:minimize" \
--budget 2 --trainings 12
    """
    from affinity.study import Study
    from affinity.tasks import Score

    from .study_summary import print_status

    check_known("--unit of tasks", options.units, options.tasks, "unknown-task")
    check_known("--weight of tasks", options.weights, options.tasks, "unknown-task")
    tasks = {
        task: Score(
            direction,  # pyright: ignore[reportArgumentType]
            unit=options.units.get(task),
            weight=options.weights.get(task, 1.0),
        )
        for task, direction in options.tasks.items()
    }
    study = Study(
        options.folder,
        tasks,
        options.budget,
        options.trainings,
        prior=list(map(_read_prior, options.prior)),
        seed=options.seed,
        merging=options.merging or None,
    )
    _write_page(study)
    with open_console(is_error=options.json) as console:
        print_status(console, study, options.json)
        folder = escape(shlex.quote(str(options.folder)))
        console.print(
            f'Next: [bold]affinity study run {folder} --command "python train.py --tasks '
            + "{tasks} --seed {seed} "
            + ("--sharing {sharing} " if options.merging else "")
            + '--out {out}"[/bold]',
            soft_wrap=True,
        )


def run_study(options: RunStudyOptions) -> None:
    """Run trainings until the best grouping is found, or no more are allowed.

    Each result is saved immediately: the same command continues a study that was stopped. The
    study's page, report.html (study.html once there is an audit), is written again as results
    arrive.

    For example:

      affinity study run runs/ranker --command "python train.py --tasks {tasks} --seed {seed} \
--out {out}" --workers 2 --timeout 6h
    """
    from affinity.report import LivePage

    from .study_summary import RunLog, print_status

    study, trainer = _open(options.folder), _trainer(options.command, options)
    if options.trainings is not None and options.trainings != study.status().trainings:
        study.extend(options.trainings)
    with open_console(options.quiet, options.json) as console:
        log = RunLog(console, study, _count_workers(options))
        log.print_start()
        page = _page_of(study)
        with _keep_finished(options.folder), LivePage(study, page) as live:
            study.run(
                trainer, retries=options.retries, observe=lambda event: (log(event), live.update())
            )
        print_status(console, study, options.json)
        print_file(console, "Report", page)


def ask_jobs(options: AskOptions) -> None:
    """Print the next useful trainings, for your own scheduler.

    Run them anywhere, in any order, and tell their scores. Fewer come back if the best grouping is
    found, no more trainings are allowed, or results are needed before more can be decided.

    For example:

      affinity study ask runs/ranker -n 4 --json
    """
    jobs = _open(options.folder).ask(options.n)
    if options.json:
        print_json(jobs)
        return
    for job in jobs:
        sharing = {"sharing": job.sharing} if job.sharing != "hard" else {}
        settings = {**sharing, **job.settings}
        end = f"\t{json.dumps(settings)}" if settings else ""
        print(f"{job.id}\tseed {job.seed}\t{shlex.join(job.names)}{end}")
    if not jobs:
        Console(stderr=True).print("No training is needed now: see affinity study status.")


def tell_scores(options: TellOptions) -> None:
    """Record the scores of a training.

    For example:

      affinity study tell runs/ranker 3f2a-1 scores.json
    """
    from affinity.training.protocol import read_scores

    study = _open(options.folder)
    job = study.job(options.job)
    text = read_text_file(options.scores, "the scores")
    study.tell(job.id, read_scores(job, text, str(options.scores)), options.seconds)
    _write_page(study)
    print(f"{job.id}: recorded")


def fail_job(options: FailOptions) -> None:
    """Record that a training failed; its scores are missing data.

    For example:

      affinity study fail runs/ranker 3f2a-1 "out of memory"
    """
    study = _open(options.folder)
    study.fail(options.job, options.reason)
    _write_page(study)
    print(f"{options.job}: failed")


def retry_job(options: RetryOptions) -> None:
    """Hand out a failed training again, with the same seed."""
    _open(options.folder).retry(options.job)
    print(f"{options.job}: waiting")


def add_runs(options: AddOptions) -> None:
    """Add trainings from before the study; they are not counted as its trainings.

    For example:

      affinity study add runs/ranker past.csv
    """
    from affinity.reading import read_table

    study = _open(options.folder)
    n_added = study.add(read_table(str(options.runs)))
    _write_page(study)
    print(f"{count(n_added, 'run')} added")


def show_study(options: StatusOptions) -> None:
    """Print the progress of a study, the best grouping so far, and open questions."""
    from .study_summary import print_status

    with open_console(is_error=options.json) as console:
        print_status(console, _open(options.folder), options.json)


def audit_study(options: AuditStudyOptions) -> int:
    """Compare the study's plan with its baselines, on trainings with new seeds.

    Trains the plan, separate networks, one network for all tasks and a random grouping. Writes
    plan.yaml, audit.json and report.html. Exit codes as `affinity audit`.

    For example:

      affinity study audit runs/ranker --command "python train.py --tasks {tasks} --seed {seed} \
--out {out}" --replicates 5 --fail-on harmful
    """
    from affinity.recommendation import Plan
    from affinity.report import write_report
    from affinity.storage import save

    from .commands import exit_code, print_audit
    from .run_directory import AUDIT, MEASUREMENTS, PAGE, PLAN, STUDY_PAGE
    from .study_summary import RunLog
    from .summary import count_networks

    study = _open(options.folder)
    trainer = None if options.command is None else _trainer(options.command, options)
    plan = None if options.plan is None else Plan.named(options.plan, tuple(study.tasks))
    if plan is None:
        _write_plan(study)
    with open_console(options.quiet, options.json) as console:
        log = RunLog(console, study, _count_workers(options))
        log.print_audit_start(plan or study.proposal(), options.replicates)
        with _keep_finished(options.folder):
            audit = study.audit(
                trainer,
                options.replicates,
                plan=plan,
                retries=options.retries,
                observe=log,
                settings=options.settings,
            )
        if plan is None and _write_plan(study):
            file = escape(str(options.folder / PLAN))
            networks = count_networks(audit.plan)
            console.print(
                f"Another candidate is advised: {file} now holds it ({networks}).", soft_wrap=True
            )
        save(audit, options.folder / MEASUREMENTS)
        audit.to_json(options.folder / AUDIT)
        page = write_report(audit, options.folder / PAGE, trace=study.trace)
        write_report(study, options.folder / STUDY_PAGE)
        print_audit(console, audit, options, options)
        print_file(console, "Report", page)
    return exit_code(console, audit, options)


def diagnose_study(options: DiagnoseStudyOptions) -> None:
    """Find out why sharing harms, by changing one thing at a time.

    Tries the changes that the command has placeholders for: another width, longer training, fewer
    rows, other ways to share. Writes diagnosis.json, and shows it on the page of an audit.

    For example:

      affinity study diagnose runs/ranker --command "python train.py --tasks {tasks} --seed {seed} \
--out {out} --width {width} --epochs-times {length}" --replicates 4
    """
    from affinity.audit import Audit
    from affinity.audit.causes import CAUSES, QUICK_CAUSES
    from affinity.recommendation import Plan
    from affinity.report import write_report
    from affinity.storage import load_as, save

    from .run_directory import DIAGNOSIS, DIAGNOSIS_JSON, MEASUREMENTS, PAGE
    from .study_summary import RunLog
    from .summary import show_diagnosis

    study = _open(options.folder)
    trainer = None if options.command is None else _trainer(options.command, options)
    with open_console(options.quiet, options.json) as console:
        log = RunLog(console, study, _count_workers(options))
        n_seeds = count(options.replicates, "new seed")
        console.print(
            f"Changing one thing at a time, on {n_seeds}. Ctrl-C keeps finished trainings.",
            soft_wrap=True,
        )
        with _keep_finished(options.folder):
            diagnosis = study.diagnose(
                trainer,
                options.replicates,
                plan=Plan.named(options.plan, tuple(study.tasks)),
                causes=QUICK_CAUSES if options.quick else CAUSES,
                retries=options.retries,
                observe=log,
                settings=options.settings,
            )
        save(diagnosis, options.folder / DIAGNOSIS)
        diagnosis.to_json(options.folder / DIAGNOSIS_JSON)
        show_diagnosis(console, diagnosis)
        if options.json:
            print(diagnosis.to_json())
        if (options.folder / MEASUREMENTS).exists():
            audit = load_as(Audit, options.folder / MEASUREMENTS)
            page = write_report(
                audit, options.folder / PAGE, trace=study.trace, diagnosis=diagnosis
            )
            print_file(console, "Report", page)


def _write_plan(study: "Study") -> bool:
    """Write the study's plan to plan.yaml, unless that was edited; whether its networks changed."""
    from affinity.recommendation import Plan

    from .run_directory import PLAN

    plan, file, written = study.plan(), study.folder / PLAN, study.folder / ".plan.yaml"
    if file.exists() and not (written.exists() and written.read_bytes() == file.read_bytes()):
        raise InputError(
            f"Expected {str(file)!r} as this command wrote it, but it was edited. To judge it, "
            f"give --plan {shlex.quote(str(file))}; to judge the study's plan, rename it.",
            "edited-plan",
        )
    before = Plan.from_yaml(file).grouping.networks if file.exists() else ()
    for path in (file, written):
        write_atomically(path, plan.to_yaml())
    return set(before) != set(plan.grouping.networks)


def _open(folder: Path) -> "Study":
    from affinity.study import Study

    return Study(folder)


def _count_workers(options: WorkerOptions) -> int:
    return options.workers or len(options.gpus) or 1


def _trainer(command: str, options: WorkerOptions) -> "CommandTrainer":
    from affinity.training import CommandTrainer

    return CommandTrainer(
        command, workers=options.workers, gpus=options.gpus, timeout=options.timeout
    )


def _write_page(study: "Study") -> None:
    """Write the study's page, unless it is new and more results are on the way."""
    from affinity.report import write_report

    page = _page_of(study)
    is_new = page.exists() and time.time() - page.stat().st_mtime < _PAGE_AGE
    if not (is_new and study.status().running):
        write_report(study, page)


def _page_of(study: "Study") -> Path:
    """The file of the study's page; once there is an audit, report.html is the audit's page."""
    from .run_directory import AUDIT, PAGE, STUDY_PAGE

    return study.folder / (STUDY_PAGE if (study.folder / AUDIT).exists() else PAGE)


def _read_prior(path: Path) -> "AffinityMatrix | Trace":
    """A trace or a matrix that was saved, or a table of affinities."""
    from affinity.estimates import AffinityMatrix
    from affinity.reading import read_table
    from affinity.recording import Trace
    from affinity.storage import load

    if path.suffix != ".safetensors":
        return AffinityMatrix.from_frame(read_table(path), path.name)
    prior = load(path)
    if not isinstance(prior, AffinityMatrix | Trace):
        raise InputError(
            f"Expected a trace or an affinity matrix in {str(path)!r}, but it holds "
            f"{type(prior).__name__}.",
            "unknown-file-kind",
        )
    return prior


@contextmanager
def _keep_finished(folder: Path) -> Generator[None]:
    """Report that finished trainings are kept if Ctrl-C stops a study."""
    try:
        yield
    except KeyboardInterrupt as error:
        raise Stopped(
            f"All finished trainings are kept in {folder}. Run the same command again to continue."
        ) from error


COMMANDS: Mapping[str, Callable[..., object]] = {
    "create": create_study,
    "run": run_study,
    "ask": ask_jobs,
    "tell": tell_scores,
    "fail": fail_job,
    "retry": retry_job,
    "add": add_runs,
    "status": show_study,
    "audit": audit_study,
    "diagnose": diagnose_study,
}
"""The commands of `affinity study`."""
