"""Opening a run: a new one from its source, or one that was recorded, with its lock held."""

import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any, get_args

import torch
from rich.console import Console

from affinity.errors import DivergenceError, InputError
from affinity.estimates import ESTIMATORS

from .flags import Way
from .notes import warnings_as_notes
from .options import AuditOptions
from .run_directory import RunDirectory
from .stopped import Stopped
from .summary import show_problem
from .work import Work, fingerprint_of


@contextmanager
def started(
    options: AuditOptions, out: Path | None, console: Console, command: str
) -> Generator[Work]:
    """A run from its source, new or gone on with.

    Raises:
        InputError: If options or data cannot be used, or the folder not.
    """
    _check(options)
    use_one_thread()
    problem = options.problem()
    options.budget_for(len(problem.tasks))
    options.replicates_for(len(problem.tasks))
    what = {"options": options.plain(), "fingerprint": fingerprint_of(problem)}
    run = RunDirectory(out) if out else RunDirectory.fresh(Path("runs") / problem.name, what)
    about = {"problem": problem.name, "command": command, "versions": versions()}
    with run.opened(what, about), _kept(run), warnings_as_notes(console):
        show_problem(console, problem)
        yield Work(run, options, console, problem)


@contextmanager
def resumed(path: Path, console: Console, **chosen: Any) -> Generator[Work]:
    """A run that was recorded, with options of later stages chosen anew.

    Raises:
        InputError: If there is no run, another process writes to it, or an option cannot be used.
    """
    run = RunDirectory(path)
    options = options_of(run)
    options = replace(
        options, **{name: value for name, value in chosen.items() if value is not None}
    )
    _check(options)
    use_one_thread()
    with run.reopened(), _kept(run), warnings_as_notes(console):
        yield Work(run, options, console)


def options_of(run: RunDirectory) -> AuditOptions:
    """What was asked for when the run was recorded."""
    stored: dict[str, Any] = run.body()["what"]["options"]
    for name in ("targets", "kinds", "exclude"):
        stored[name] = tuple(stored[name])
    return AuditOptions(**stored)


def use_one_thread() -> None:
    """Networks this small only wait for each other's threads."""
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)


def _check(options: AuditOptions) -> None:
    if options.estimator not in ESTIMATORS:
        raise InputError(
            f"Expected one of the estimators {list(ESTIMATORS)}, but got {options.estimator!r}."
        )
    options.chosen_baselines()
    ways = get_args(Way)
    if options.verify not in (None, *ways):
        raise InputError(f"Expected verify among {list(ways)}, but got {options.verify!r}.")
    if not options.race_minutes > 0:
        raise InputError(f"Expected race_minutes above 0, but got {options.race_minutes}.")
    if not 0 < options.tolerance < 1:
        raise InputError(
            f"Expected a tolerance between 0 and 1, a share of the loss, but got "
            f"{options.tolerance}."
        )
    options.growth()
    if options.every < 1:
        raise InputError(f"Expected every of at least 1, but got {options.every}.")
    if options.runs < 1:
        raise InputError(f"Expected runs of at least 1, but got {options.runs}.")
    if options.budget is not None and options.budget < 1:
        raise InputError(f"Expected a budget of at least 1, but got {options.budget}.")


@contextmanager
def _kept(run: RunDirectory) -> Generator[None]:
    """Say what is kept when a run breaks off."""
    try:
        yield
    except (KeyboardInterrupt, DivergenceError) as error:
        kept = sorted(file.name for file in run.path.iterdir() if not file.name.startswith("."))
        message = f"Kept in {run.path}: {', '.join(kept)}."
        if isinstance(error, KeyboardInterrupt):
            raise Stopped(f"{message} The same command goes on from there.") from error
        error.add_note(f"{message} With another --learning-rate, give another --out.")
        raise


def versions() -> dict[str, Any]:
    """Of what results depend on."""
    names = ("task-affinity", "torch", "scikit-learn", "numpy", "pandas")
    found = {"python": sys.version.split()[0]}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed as a package"
    return found
