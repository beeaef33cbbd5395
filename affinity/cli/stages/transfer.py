"""The transfer stage: measure the gain of every source on every target, and related questions."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from affinity.cli.options import TransferOptions, TransferSettings, select
from affinity.cli.run import Run
from affinity.cli.run_directory import (
    TRAININGS,
    TRANSFER,
    TRANSFER_PAGE,
    TRANSFER_RESULTS,
    TRANSFER_TABLE,
    TUNING_PLAN,
)
from affinity.errors import InputError, check_choice
from affinity.files import write_atomically
from affinity.problems import Problem
from affinity.report import write_report
from affinity.report.transfer_words import transfer_headline
from affinity.storage import load_as, save, to_jsonable, write_json
from affinity.training import TrainingSettings
from affinity.transfer import (
    OWN_INPUTS,
    RECIPES,
    SCORES,
    LowDataCurve,
    Recipe,
    Sources,
    Transfer,
    TransferReport,
    TransferSummary,
    TuningCandidate,
    TuningPlan,
    choose_recipe,
    compare_joint,
    learn_sources,
    low_data_curves,
    measure_distortion,
    measure_transfer,
    plan_for,
    representation_similarity,
    transferability_scores,
    tuning_candidates,
    with_architectures,
)
from affinity.words import count

BEST = "best"


def write_tuning_plan(run: Run, options: TransferOptions) -> Path:
    """Write the tuning plan of the recipe for editing, and return its path."""
    plan = _plan(run.problem, options)
    return write_atomically(run.directory.file(TUNING_PLAN), plan.to_yaml())


def transfer_stage(run: Run, options: TransferOptions) -> TransferSummary:
    """Measure transfer; writes the results, their summary as JSON and CSV, and a page."""
    directory, problem = run.directory, run.problem
    plan = None if options.recipe == BEST else _plan(problem, options)
    has_only_control = options.sources == (OWN_INPUTS,) and not (options.group or options.weights)
    if has_only_control and (options.rows or options.distortion):
        raise InputError(
            f"Expected a source other than the control {OWN_INPUTS!r} for --rows or --distortion: "
            "name one with --from.",
            "only-control",
        )
    n_replicates = options.replicates
    if (plan is None or options.architectures) and n_replicates < 2:
        raise InputError(
            "Expected at least two replicates to choose a recipe or an architecture by "
            "cross-validation, but got one: raise --replicates.",
            "too-few-replicates",
        )
    inputs = {
        **to_jsonable(select(TransferSettings, options)),
        "plan": None if plan is None else plan.to_yaml(),
        "files": {name: _hash_of(path) for name, path in options.weights.items()},
    }
    if directory.is_done("transfer", inputs):
        run.print_skipped("transfer", TRANSFER)
        return _summarize(load_as(TransferReport, directory.file(TRANSFER_RESULTS)))
    splits = problem.replicates(n_replicates, run.settings.seed + 1)
    targets = list(options.onto or problem.names)
    outputs = [TRANSFER, TRANSFER_RESULTS, TRANSFER_TABLE, TRANSFER_PAGE]
    with directory.stage("transfer", inputs, outputs):
        run.console.print(f"Training sources on {count(n_replicates, 'replicate')} ...")
        problems = with_architectures(problem, options.architectures)
        sources = {
            name: learn_sources(
                sized, splits, options.sources or None, _groups(options), options.weights, targets
            )
            for name, sized in problems.items()
        }
        sizes = count(len(sources[""].names), "source"), count(len(targets), "target")
        run.console.print(f"Fine-tuning from {sizes[0]} on {sizes[1]} ...")
        ways = _ways(problems, sources, options)
        report = _measure(run, ways, options, targets, directory.file(TRAININGS))
        summary = _summarize(report)
        save(report, directory.file(TRANSFER_RESULTS))
        write_json(summary, directory.file(TRANSFER))
        write_atomically(
            directory.file(TRANSFER_TABLE), report.transfer.frame().to_csv(index=False)
        )
        write_report(summary, directory.file(TRANSFER_PAGE))
    run.print_finished("transfer", f"{count(len(summary.pairs), 'pair')} measured", outputs)
    return summary


def _summarize(report: TransferReport) -> TransferSummary:
    summary = report.summary()
    headline = transfer_headline(summary)
    return replace(summary, lines=(headline.title, *headline.sentences))


def _hash_of(path: str) -> str | None:
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]
    except OSError:
        return None  # reported when it is read


def _plan(problem: Problem, options: TransferOptions) -> TuningPlan:
    if options.tuning_plan is not None:
        return plan_for(problem, TuningPlan.read(options.tuning_plan))
    check_choice("the recipe", options.recipe, [*RECIPES, BEST], "unknown-recipe")
    return plan_for(problem, RECIPES[options.recipe])


@dataclass(frozen=True, eq=False)
class _Way:
    """A way to transfer: the sources' networks, and how targets are tuned."""

    problem: Problem
    sources: Sources
    recipe: Recipe | TuningPlan
    settings: TrainingSettings


def _ways(
    problems: Mapping[str, Problem], sources: Mapping[str, Sources], options: TransferOptions
) -> dict[str, _Way]:
    """The recipe, or all of them, with each architecture; the problem's own first."""
    ways: dict[str, _Way] = {}
    for architecture, problem in problems.items():
        suffix = f", trunk {architecture}" if architecture else ""
        if options.recipe == BEST:
            candidates = tuning_candidates(problem.settings)
        else:
            plan = _plan(problem, options)
            candidates = {plan.recipe: TuningCandidate(plan, problem.settings)}
        ways |= {
            f"{name}{suffix}": _Way(problem, sources[architecture], each.recipe, each.settings)
            for name, each in candidates.items()
        }
    return ways


def _measure(
    run: Run, ways: Mapping[str, _Way], options: TransferOptions, targets: list[str], store: Path
) -> TransferReport:
    measured: dict[str, Transfer] = {}
    for name, way in ways.items():
        if len(ways) > 1:
            run.console.print(f"Fine-tuning with {name} ...")
        measured[name] = measure_transfer(
            way.problem,
            way.recipe,
            way.sources,
            targets=targets,
            settings=way.settings,
            store=store,
        )
    choice = choose_recipe(measured) if len(ways) > 1 else None
    usual = next(iter(ways.values()))
    problem, sources = usual.problem, usual.sources
    transfer = next(iter(measured.values())) if choice is None else choice.transfer
    scores = {
        name: transferability_scores(problem, sources, score, targets)
        for name, score in SCORES.items()
    }
    scores["representation similarity"] = representation_similarity(problem, sources, targets)
    leading = transfer.leading_sources()
    curves: list[LowDataCurve] = []
    for target, source in leading.items() if options.rows else ():
        way = usual if choice is None else ways[choice.recipes[source, target]]
        names = [name for name in sources.names if name in (source, OWN_INPUTS)]
        curves += low_data_curves(
            way.problem,
            replace(way.sources, names=tuple(names)),
            way.recipe,
            [target],
            options.rows,
            settings=way.settings,
            store=store,
        )
    pairs = [(source, target) for target, source in leading.items()]
    return TransferReport(
        transfer=replace(transfer, context={**transfer.context, **_context(run)}),
        scores=scores,
        curves=tuple(curves),
        joint=compare_joint(problem, sources, transfer, store=store) if options.joint else None,
        choice=choice,
        distortion=measure_distortion(problem, sources, pairs) if options.distortion else None,
        warnings=tuple(note.message for note in problem.notes if note.severity != "note"),
    )


def _groups(options: TransferOptions) -> dict[str, tuple[str, ...]]:
    return {
        name: tuple(task.strip() for task in tasks.split(","))
        for name, tasks in options.group.items()
    }


def _context(run: Run) -> dict[str, object]:
    """How it was made, for the page and the file."""
    record, source = run.directory.record, run.problem.source
    return {
        "source": source.name,
        **{k: v for k, v in asdict(source).items() if k != "name" and v},
        "command": record.command,
        "seed": run.settings.seed,
        "settings": run.problem.settings.to_dict(),
        "versions": record.versions,
    }
