"""Early checks: errors in a call that are found before torch is imported, within a second."""

import difflib
import shlex
from collections.abc import Collection
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from affinity.errors import InputError
from affinity.extras import needs

if TYPE_CHECKING:
    from affinity.reading import ReadingOptions

    from .options import DataOptions, ReadingSettings

BUILT_IN = ("digits", "planted")  # problems that need no file


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


def check_columns(settings: "DataOptions") -> None:
    """Check that the header of the table has the columns that the call names."""
    check_source(settings.source)
    if not Path(settings.source).exists():
        if settings.source in BUILT_IN and (settings.targets or settings.task_column):
            raise InputError(
                f"The built-in problem {settings.source!r} has its own targets: leave out "
                "--target, --targets and --task-column.",
                "unexpected-targets",
            )
        return
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
    """Check that there is a folder or a file at the path of a run."""
    if not path.exists():
        raise no_run(path)


def no_run(path: Path) -> InputError:
    """The error for a folder that holds no run."""
    return InputError(
        f"Expected a run in the folder {str(path)!r}, but there is none. Create one: "
        f"affinity record SOURCE --out {shlex.quote(str(path))}",
        "no-run",
    )
