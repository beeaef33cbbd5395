"""The transfer stage: measure the gain of every source on every target, and related questions."""

import hashlib
import json
from dataclasses import asdict, replace
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
from affinity.errors import InputError
from affinity.files import write_atomically
from affinity.problems import Problem
from affinity.report.transfer_page import write_transfer
from affinity.report.transfer_words import transfer_headline
from affinity.storage import load_as, save, to_jsonable
from affinity.transfer import (
    OWN_INPUTS,
    RECIPES,
    SCORES,
    ChosenRecipe,
    LowDataCurve,
    Sources,
    Transfer,
    TransferReport,
    TransferSummary,
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
    if plan is None and n_replicates < 2:
        raise InputError(
            "Expected at least two replicates to choose a recipe by cross-validation, but got one: "
            "raise --replicates.",
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
        sources = learn_sources(
            problem, splits, options.sources or None, _groups(options), options.weights, targets
        )
        sizes = count(len(sources.names), "source"), count(len(targets), "target")
        run.console.print(f"Fine-tuning from {sizes[0]} on {sizes[1]} ...")
        report = _measure(run, sources, plan, options, targets, directory.file(TRAININGS))
        summary = _summarize(report)
        save(report, directory.file(TRANSFER_RESULTS))
        text = json.dumps(to_jsonable(summary), indent=1, ensure_ascii=False, allow_nan=False)
        write_atomically(directory.file(TRANSFER), text + "\n")
        write_atomically(
            directory.file(TRANSFER_TABLE), report.transfer.frame().to_csv(index=False)
        )
        write_transfer(summary, directory.file(TRANSFER_PAGE))
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
    if options.recipe not in RECIPES:
        raise InputError(
            f"Expected one of the recipes {[*RECIPES, BEST]}, but got {options.recipe!r}.",
            "unknown-recipe",
        )
    return plan_for(problem, RECIPES[options.recipe])


def _measure(
    run: Run,
    sources: Sources,
    plan: TuningPlan | None,
    options: TransferOptions,
    targets: list[str],
    store: Path,
) -> TransferReport:
    problem = run.problem
    choice = _choose_recipes(run, sources, targets, store) if plan is None else None
    transfer = (
        measure_transfer(problem, plan, sources, targets=targets, store=store)
        if choice is None
        else choice.transfer
    )
    scores = {
        name: transferability_scores(problem, sources, score, targets)
        for name, score in SCORES.items()
    }
    scores["representation similarity"] = representation_similarity(problem, sources, targets)
    leading = transfer.leading_sources()
    curves: list[LowDataCurve] = []
    for target, source in leading.items() if options.rows else ():
        names = [name for name in sources.names if name in (source, OWN_INPUTS)]
        recipe, settings = plan, problem.settings
        if choice is not None:
            candidate = tuning_candidates(settings)[choice.recipes[source, target]]
            recipe, settings = candidate.recipe, candidate.settings
        curves += low_data_curves(
            problem,
            replace(sources, names=tuple(names)),
            recipe,
            [target],
            options.rows,
            settings=settings,
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
    )


def _choose_recipes(run: Run, sources: Sources, targets: list[str], store: Path) -> ChosenRecipe:
    measured: dict[str, Transfer] = {}
    for name, candidate in tuning_candidates(run.problem.settings).items():
        run.console.print(f"Fine-tuning with {name} ...")
        measured[name] = measure_transfer(
            run.problem,
            candidate.recipe,
            sources,
            targets=targets,
            settings=candidate.settings,
            store=store,
        )
    return choose_recipe(measured)


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
        "settings": asdict(run.problem.settings),
        "versions": record.versions,
    }
