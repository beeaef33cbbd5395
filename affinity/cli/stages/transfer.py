"""The transfer stage: measure the gain of every source on every target, and related questions."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from affinity.cli.options import settings_of
from affinity.cli.run_files import (
    TRAININGS,
    TRANSFER,
    TRANSFER_PAGE,
    TRANSFER_RESULTS,
    TRANSFER_TABLE,
    TUNING_PLAN,
)
from affinity.cli.work import Work
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
    recipe_candidates,
    representation_similarity,
    transferability_scores,
)
from affinity.words import count

BEST = "best"
REPLICATES = 5


@dataclass(frozen=True)
class TransferRequest:
    """What to measure.

    Args:
        recipe: A name in `RECIPES`, or ``best``: measure all, and choose one for each pair.
        tuning_plan: A file with an edited plan, instead of a recipe.
        sources: Names; all if empty.
        targets: Names; all if empty.
        groups: More sources by name: tasks that are trained together.
        weights: More sources by name: files of trunks.
        sizes: Numbers of rows of the low-data curves; none if empty.
        is_joint: Whether to train pairs jointly, too.
        is_distortion: Whether to measure the change of representations by every recipe.
    """

    recipe: str = "full fine-tuning"
    tuning_plan: str | None = None
    sources: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    weights: Mapping[str, str] = field(default_factory=dict[str, str])
    sizes: tuple[int, ...] = ()
    is_joint: bool = False
    is_distortion: bool = False


def write_tuning_plan(work: Work, request: TransferRequest) -> Path:
    """Write the tuning plan of the recipe for editing, and return its path."""
    plan = _plan(work.problem, request)
    return write_atomically(work.run.file(TUNING_PLAN), plan.to_yaml())


def run_transfer(work: Work, request: TransferRequest) -> TransferSummary:
    """Measure transfer; writes the results, their summary as JSON and CSV, and a page."""
    run, problem = work.run, work.problem
    plan = None if request.recipe == BEST else _plan(problem, request)
    has_only_control = request.sources == (OWN_INPUTS,) and not (request.groups or request.weights)
    if has_only_control and (request.sizes or request.is_distortion):
        raise InputError(
            f"Expected a source other than the control {OWN_INPUTS!r} for --rows or --distortion: "
            "name one with --from.",
            "only-control",
        )
    n_replicates = work.options.replicates or REPLICATES
    if plan is None and n_replicates < 2:
        raise InputError(
            "Expected at least two replicates to choose a recipe by cross-validation, but got one: "
            "raise --replicates.",
            "too-few-replicates",
        )
    inputs = {
        **to_jsonable(request),
        "plan": None if plan is None else plan.to_yaml(),
        "replicates": n_replicates,
        "files": {name: _hash_of(path) for name, path in request.weights.items()},
    }
    if run.is_done("transfer", inputs):
        work.stands("The transfer", TRANSFER)
        return _summarize(load_as(TransferReport, run.file(TRANSFER_RESULTS)))
    splits = problem.replicates(n_replicates, work.options.seed + 1)
    targets = list(request.targets or problem.names)
    outputs = [TRANSFER, TRANSFER_RESULTS, TRANSFER_TABLE, TRANSFER_PAGE]
    with run.stage("transfer", inputs, outputs):
        work.console.print(f"Training sources on {count(n_replicates, 'replicate')} ...")
        sources = learn_sources(
            problem, splits, request.sources or None, request.groups, request.weights, targets
        )
        sizes = count(len(sources.names), "source"), count(len(targets), "target")
        work.console.print(f"Fine-tuning from {sizes[0]} on {sizes[1]} ...")
        report = _measure(work, sources, plan, request, targets, run.file(TRAININGS))
        summary = _summarize(report)
        save(report, run.file(TRANSFER_RESULTS))
        text = json.dumps(to_jsonable(summary), indent=1, ensure_ascii=False, allow_nan=False)
        write_atomically(run.file(TRANSFER), text + "\n")
        write_atomically(run.file(TRANSFER_TABLE), report.transfer.frame().to_csv(index=False))
        write_transfer(summary, run.file(TRANSFER_PAGE))
    work.wrote("transfer", f"{count(len(summary.pairs), 'pair')} measured", outputs)
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


def _plan(problem: Problem, request: TransferRequest) -> TuningPlan:
    if request.tuning_plan is not None:
        return plan_for(problem, TuningPlan.read(request.tuning_plan))
    if request.recipe not in RECIPES:
        raise InputError(
            f"Expected one of the recipes {[*RECIPES, BEST]}, but got {request.recipe!r}.",
            "unknown-recipe",
        )
    return plan_for(problem, RECIPES[request.recipe])


def _measure(
    work: Work,
    sources: Sources,
    plan: TuningPlan | None,
    request: TransferRequest,
    targets: list[str],
    store: Path,
) -> TransferReport:
    problem = work.problem
    choice = _choose_recipes(work, sources, targets, store) if plan is None else None
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
    for target, source in leading.items() if request.sizes else ():
        names = [name for name in sources.names if name in (source, OWN_INPUTS)]
        recipe = recipe_candidates()[choice.recipes[source, target]] if choice else plan
        curves += low_data_curves(
            problem,
            replace(sources, names=tuple(names)),
            recipe,
            [target],
            request.sizes,
            store=store,
        )
    pairs = [(source, target) for target, source in leading.items()]
    return TransferReport(
        transfer=replace(transfer, context={**transfer.context, **_context(work)}),
        scores=scores,
        curves=tuple(curves),
        joint=compare_joint(problem, sources, transfer, store=store) if request.is_joint else None,
        choice=choice,
        distortion=measure_distortion(problem, sources, pairs) if request.is_distortion else None,
    )


def _choose_recipes(work: Work, sources: Sources, targets: list[str], store: Path) -> ChosenRecipe:
    measured: dict[str, Transfer] = {}
    for name, recipe in recipe_candidates().items():
        work.console.print(f"Fine-tuning with {name} ...")
        measured[name] = measure_transfer(
            work.problem, recipe, sources, targets=targets, store=store
        )
    return choose_recipe(measured)


def _context(work: Work) -> dict[str, object]:
    """How it was made, for the page and the file."""
    body = work.run.body()
    return {
        "source": work.problem.source.name,
        **{k: v for k, v in asdict(work.problem.source).items() if k != "name" and v},
        "command": body["command"],
        "seed": work.options.seed,
        "settings": settings_of(work.problem.settings),
        "versions": body["versions"],
    }
