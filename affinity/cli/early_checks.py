"""Early checks: errors in a call that are found before torch is imported, within a second."""

import difflib
import re
import shlex
from collections.abc import Collection
from dataclasses import MISSING, fields
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from affinity.errors import InputError, check_choice, check_known, check_number
from affinity.extras import needs

from .registry_names import (
    ESTIMATOR_NAMES,
    METHOD_NAMES,
    METRIC_NAMES,
    OBJECTIVE_NAMES,
    RECIPE_NAMES,
    TRUNK_NAMES,
)

if TYPE_CHECKING:
    from affinity.reading import ReadingOptions

    from .options import CompareObjectivesOptions, DataOptions, OutputOptions, ReadingSettings

RECORD = "run.json"  # a folder that holds it is that of a run
LEDGER = "ledger.jsonl"  # and this one, of a study
BUILT_IN = ("digits", "planted")  # problems that need no file
OF_TABLES = (
    *("separator", "decimal", "encoding", "missing", "date_formats", "kinds", "transforms"),
    *("exclude", "time_column", "split_column", "group_column", "sample_weight", "max_rows"),
)
"""Options that have no effect on a built-in problem."""


def check_source(source: str, built_in: Collection[str] = BUILT_IN) -> None:
    """Check that a source is a file, standard input or a built-in problem."""
    if source in ("-", *built_in) or Path(source).exists():
        return
    near = difflib.get_close_matches(source, built_in, n=1)
    raise InputError(
        f"Expected a table or one of the built-in problems {list(built_in)}, but there is no "
        f"file {source!r}." + (f" Did you mean {near[0]!r}?" if near else ""),
        "unknown-source",
    )


def check_names(options: "OutputOptions") -> None:
    """Check the names of built-in things that a command's options give.

    Whether this machine has the device, and whether a metric fits its task, is checked later.
    """
    given = vars(options)
    if "estimator" in given:
        check_choice("the estimator", given["estimator"], ESTIMATOR_NAMES, "unknown-estimator")
    if ":" not in (trunk := given.get("trunk", TRUNK_NAMES[0])):  # no class of the user's own
        check_choice("the trunk", trunk, (*TRUNK_NAMES, "MODULE:CLASS"), "unknown-trunk")
    if device := given.get("device"):
        kind = re.sub(r":\d+$", "", device)
        check_choice("the device", kind, ("auto", "cpu", "cuda", "mps"), "unknown-device")
    for task, metric in given.get("metrics", {}).items():
        base = metric.strip().lower().removeprefix("neg_").partition(":")[0]
        check_choice(f"the metric of task {task!r}", base, METRIC_NAMES, "unknown-metric")
    check_known("objectives", given.get("objectives", ()), OBJECTIVE_NAMES, "unknown-objective")
    check_known("methods", given.get("methods", ()), METHOD_NAMES, "unknown-method")
    if given.get("task_sampling") != "temperature":
        where = "without --task-sampling temperature"
        refuse_unused(options, ("sampling_temperature",), where)
    if "recipe" in given:
        check_choice("the recipe", given["recipe"], RECIPE_NAMES, "unknown-recipe")


def refuse_unused(
    options: object, names: Collection[str], where: str, code: str = "unused-option"
) -> None:
    """Refuse options of these names that were given, and would have no effect."""
    given: list[str] = []
    for entry in fields(options):  # pyright: ignore[reportArgumentType]
        usual = entry.default if entry.default_factory is MISSING else entry.default_factory()
        if entry.name in names and getattr(options, entry.name) != usual:
            flag = entry.metadata["parameter"]["name"] or f"--{entry.name.replace('_', '-')}"
            given.append(flag if isinstance(flag, str) else flag[0])
    if given:
        raise InputError(f"Leave out {', '.join(given)}: not used {where}.", code)


def known_tasks(settings: "DataOptions") -> tuple[str, ...] | None:
    """The names of the tasks; None if only the table tells them."""
    if settings.task_column is not None or "set" in settings.kinds.values():
        return None
    return settings.targets or None


def check_budget(budget: int, n_tasks: int) -> None:
    """Check that a budget is not larger than the number of tasks."""
    check_number("the budget of networks", budget, "budget-too-large", most=n_tasks)


def check_tasks(settings: "DataOptions") -> None:
    """Check what the call says of tasks against their names, as far as it names them."""
    if (tasks := known_tasks(settings)) is None:
        return
    judged = {*settings.metrics, *settings.task_weights}
    check_known("metrics and weights of tasks", judged, tasks, "unknown-task")
    if (budget := vars(settings).get("budget")) is not None:
        check_budget(budget, len(tasks))


def check_columns(settings: "DataOptions") -> None:
    """Check what the call says of its tasks, and that the table has the columns that it names."""
    check_tasks(settings)
    check_source(settings.source)
    if not Path(settings.source).exists():
        if settings.source in BUILT_IN and (settings.targets or settings.task_column):
            raise InputError(
                f"The built-in problem {settings.source!r} has its own targets: leave out "
                "--target, --targets and --task-column.",
                "unexpected-targets",
            )
        if settings.source in BUILT_IN:
            where = f"by the built-in problem {settings.source!r}"
            refuse_unused(settings, (*OF_TABLES, "validation_share"), where)
        return
    if settings.split_column is not None:
        where = f"where --split-column {settings.split_column!r} says which rows are test rows"
        refuse_unused(settings, ("test_share",), where)
    from affinity.reading import ColumnRoles, TargetKind

    kinds = {**settings.kinds, **settings.transforms}
    roles = ColumnRoles(
        targets=settings.targets,
        kinds={name: TargetKind.of(kind, name) for name, kind in kinds.items()},
        task=settings.task_column,
        time=settings.time_column,
        split=settings.split_column,
        group=settings.group_column,
        weight=settings.sample_weight,
        exclude=settings.exclude,
    )
    roles.check_header(settings.source, reading_options(settings))


def reading_options(settings: "ReadingSettings") -> "ReadingOptions":
    """How the options of a command say that the table is read."""
    from affinity.reading import ReadingOptions

    return ReadingOptions(
        settings.separator,
        settings.decimal,
        settings.encoding,
        settings.missing,
        settings.date_formats,
    )


def check_plan(plan: str | None) -> None:
    """Check that there is a file of the plan, unless it is one that has a name."""
    if plan not in (None, "separate", "all-in-one") and not Path(plan).is_file():
        raise InputError(
            f"Expected a plan, which is a YAML file, 'separate' or 'all-in-one', but there is no "
            f"file {plan!r}.",
            "unreadable-file",
        )


def check_backend(backend: str | None) -> None:
    """Check that the library of a backend is installed."""
    library = {"ray": "ray", "dask": "distributed"}.get(backend or "")
    if library is not None and find_spec(library) is None:
        with needs(str(backend)):
            raise ImportError(name=library)


def check_run(path: Path) -> None:
    """Check that there is the folder of a run, or a file, at the path of a run."""
    if not (path.is_file() or is_run(path)):
        raise no_run(path)


def is_run(source: str | Path) -> bool:
    """Whether this is the folder of a run."""
    return (Path(source) / RECORD).is_file()


def is_study(path: Path) -> bool:
    """Whether this is the folder of a study."""
    return (path / LEDGER).is_file()


def check_settings_of_run(options: "CompareObjectivesOptions") -> None:
    """Refuse settings of a run, where its folder is given: they are those of the folder."""
    own = {"source", "plan", "replicates", "objectives", "json", "quiet", "debug", "config"}
    names = {entry.name for entry in fields(options)} - own
    where = f"with the folder of a run, {options.source!r}, whose settings are used"
    refuse_unused(options, names, where, "settings-of-run")


def no_run(path: Path) -> InputError:
    """The error for a folder that holds no run."""
    return InputError(
        f"Expected a run in the folder {str(path)!r}, but there is none. Create one: "
        f"affinity record SOURCE --out {shlex.quote(str(path))}",
        "no-run",
    )
