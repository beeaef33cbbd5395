"""The stage that measures transfer: every source to every target, and what goes with it."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from affinity.cli.options import settings_of
from affinity.cli.run_files import TRAININGS, TRANSFER, TRANSFER_PAGE, TRANSFER_TABLE, TUNING_PLAN
from affinity.cli.work import Work
from affinity.errors import InputError
from affinity.files import write_atomically
from affinity.problems import Problem
from affinity.report.transfer_page import write_transfer
from affinity.report.transfer_words import transfer_headline
from affinity.transfer import (
    FINE_TUNING,
    OWN_INPUTS,
    RECIPES,
    SCORES,
    ChosenRecipe,
    LowDataCurve,
    Sources,
    Transfer,
    TuningPlan,
    candidates,
    choose_recipe,
    compare_joint,
    foretold,
    learn_sources,
    low_data_curves,
    measure_distortion,
    measure_transfer,
    plan_for,
    promise,
    representation_similarity,
)
from affinity.words import count

BEST = "best"
REPLICATES = 5


@dataclass(frozen=True)
class Request:
    """What was asked for, beside the data.

    Args:
        recipe: A name in `RECIPES`, or ``best``: all are measured, and one is chosen a pair.
        tuning_plan: A file with an edited plan, in place of a recipe.
        sources: Names; all if empty.
        targets: Names; all if empty.
        groups: More sources: NAME=TASK,TASK.
        weights: More sources: NAME=FILE.
        sizes: Rows of the targets for low-data curves; none if empty.
        is_joint: Whether to train pairs jointly, too.
        is_distortion: Whether to measure what every recipe does to representations.
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


def planned(work: Work, request: Request) -> Path:
    """Write the tuning plan of the recipe, to be edited, and return where it is."""
    plan = _plan(work.problem, request)
    return write_atomically(work.run.file(TUNING_PLAN), plan.to_yaml())


def transferred(work: Work, request: Request) -> dict[str, Any]:
    """Measure transfer; kept in the run's folder as JSON, CSV and a page."""
    run, problem = work.run, work.problem
    plan = None if request.recipe == BEST else _plan(problem, request)
    is_alone = request.sources == (OWN_INPUTS,) and not (request.groups or request.weights)
    if is_alone and (request.sizes or request.is_distortion):
        raise InputError(
            f"Expected a source beside {OWN_INPUTS!r}, the control, to follow over rows or to look "
            "into: name one with --from."
        )
    n_replicates = work.options.replicates or REPLICATES
    if plan is None and n_replicates < 2:
        raise InputError(
            "Expected at least two replicates to choose a recipe, each by the others, but got one: "
            "raise --replicates."
        )
    inputs = {
        **json.loads(json.dumps(asdict(request))),
        "plan": None if plan is None else plan.to_yaml(),
        "replicates": n_replicates,
        "files": {name: _hash_of(path) for name, path in request.weights.items()},
    }
    if run.is_done("transfer", inputs):
        work.stands("The transfer", TRANSFER)
        return json.loads(run.file(TRANSFER).read_text(encoding="utf-8"))
    on = problem.replicates(n_replicates, work.options.seed + 1)
    targets = list(request.targets or problem.names)
    outputs = [TRANSFER, TRANSFER_TABLE, TRANSFER_PAGE]
    with run.stage("transfer", inputs, outputs):
        work.console.print(f"Training sources on {count(n_replicates, 'replicate')} ...")
        sources = learn_sources(
            problem,
            on,
            request.sources or None,
            request.groups,
            request.weights,
            targets,
        )
        brought = count(len(sources.names), "source")
        work.console.print(f"Bringing {brought} to {count(len(targets), 'target')} ...")
        store = run.file(TRAININGS)
        if plan is None:
            tuning: TuningPlan | ChosenRecipe = _chosen(work, sources, targets, store)
            transfer = tuning.transfer
        else:
            tuning = plan
            transfer = measure_transfer(problem, plan, sources, targets=targets, store=store)
        result = _result(problem, sources, transfer, tuning, request, targets, store)
        result["context"] |= _context(work)
        text = json.dumps(result, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        write_atomically(run.file(TRANSFER), text)
        write_atomically(run.file(TRANSFER_TABLE), transfer.frame().to_csv(index=False))
        write_transfer(result, run.file(TRANSFER_PAGE))
    work.wrote("transfer", f"{count(len(transfer.pairs), 'pair')} measured", outputs)
    return result


def _hash_of(path: str) -> str | None:
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]
    except OSError:
        return None  # said where it is read


def _plan(problem: Problem, request: Request) -> TuningPlan:
    if request.tuning_plan is not None:
        return plan_for(problem, TuningPlan.read(request.tuning_plan))
    if request.recipe not in RECIPES:
        raise InputError(
            f"Expected one of the recipes {[*RECIPES, BEST]}, but got {request.recipe!r}."
        )
    return plan_for(problem, RECIPES[request.recipe])


def _chosen(work: Work, sources: Sources, targets: list[str], store: Path) -> ChosenRecipe:
    """By all recipes, of which one is chosen a pair."""
    measured: dict[str, Transfer] = {}
    for name, recipe in candidates().items():
        work.console.print(f"Tuning by {name} ...")
        measured[name] = measure_transfer(
            work.problem, recipe, sources, targets=targets, store=store
        )
    return choose_recipe(measured)


def _choice(chosen: ChosenRecipe) -> dict[str, Any]:
    """Which recipe each pair has, and what choosing is worth."""
    return {
        "recipes": [
            {"source": source, "target": target, "recipe": chosen.recipes[source, target]}
            | {"gain": each.gain, "low": each.low, "high": each.high, "verdict": each.verdict}
            for (source, target), each in chosen.verdicts(FINE_TUNING).items()
        ],
        "choice": {
            "over": FINE_TUNING,
            "summary": chosen.summary(FINE_TUNING),
            "overall": _records(chosen.overall(FINE_TUNING)),
        },
    }


def _result(
    problem: Problem,
    sources: Sources,
    transfer: Transfer,
    tuning: TuningPlan | ChosenRecipe,
    request: Request,
    targets: list[str],
    store: Path,
) -> dict[str, Any]:
    estimates = {name: promise(problem, sources, score, targets) for name, score in SCORES.items()}
    estimates["representation similarity"] = representation_similarity(problem, sources, targets)
    result: dict[str, Any] = transfer.to_dict()
    result["scores"] = [
        {"score": name} | _known(asdict(foretold(transfer, values)))
        for name, values in estimates.items()
    ]
    result["estimates"] = {
        name: [[_known_number(value) for value in row] for row in values.tolist()]
        for name, values in estimates.items()
    }
    leading = transfer.leading_sources()
    said = transfer_headline(result)
    result["lines"] = [said.title, *said.sentences]
    result["curves"], result["curve_lines"], result["joint"] = [], [], []
    if isinstance(tuning, ChosenRecipe):
        result |= _choice(tuning)
    if request.sizes:
        curves: list[LowDataCurve] = []
        for target, source in leading.items():
            own, by, note = _only(sources, source), tuning, ""
            if isinstance(by, ChosenRecipe):
                name = by.recipes[source, target]
                by, note = candidates()[name], f" Tuned by {name}, as was chosen with all rows."
            found = low_data_curves(problem, own, by, [target], request.sizes, store=store)
            result["curve_lines"] += [f"{curve.summary}{note}" for curve in found]
            curves += found
        result["curves"] = _records(pd.concat([curve.frame() for curve in curves]))
    if request.is_joint:
        both = compare_joint(problem, sources, transfer, store=store)
        result["joint"] = [
            row | {"reasons": list(both.advise(row["source"], row["target"]).reasons)}
            for row in _records(both.frame())
        ]
    if request.is_distortion:
        pairs = [(source, target) for target, source in leading.items()]
        moved = measure_distortion(problem, sources, pairs)
        result["distortion"] = {
            "summary": moved.summary,
            "overall": _records(moved.overall()),
            "pairs": _records(moved.frame()),
        }
    return result


def _only(sources: Sources, source: str) -> Sources:
    """One source, and the control."""
    names = [name for name in sources.names if name in (source, OWN_INPUTS)]
    return replace(sources, names=tuple(names))


def _context(work: Work) -> dict[str, Any]:
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


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [_known(row) for row in frame.to_dict("records")]


def _known(row: Mapping[Any, Any]) -> dict[str, Any]:
    return {str(key): _known_number(value) for key, value in row.items()}


def _known_number(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
