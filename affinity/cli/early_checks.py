"""Early checks: errors in a call that are found before torch is imported, within a second."""

import difflib
import shlex
from collections.abc import Collection
from importlib.util import find_spec
from pathlib import Path

from affinity.errors import InputError
from affinity.extras import needs

BUILT_IN = ("digits", "planted")
"""Problems that need no file."""


def check_source(source: str, built_in: Collection[str] = BUILT_IN) -> None:
    """Check that a source is a file, standard input or a built-in problem.

    Raises:
        InputError: If it is none; the nearest built-in problem is given.
    """
    if source in ("-", *built_in) or Path(source).exists():
        return
    near = difflib.get_close_matches(source, built_in, n=1)
    raise InputError(
        f"Expected a table or one of the built-in problems {list(built_in)}, but there is no "
        f"file {source!r}." + (f" Did you mean {near[0]!r}?" if near else ""),
        "unknown-source",
    )


def check_backend(backend: str | None) -> None:
    """Check that the library of a backend is installed.

    Raises:
        InputError: If not.
    """
    library = {"ray": "ray", "dask": "distributed"}.get(backend or "")
    if library is not None and find_spec(library) is None:
        with needs(str(backend)):
            raise ImportError(name=library)


def check_run(path: Path) -> None:
    """Check that there is a folder or a file at the path of a run.

    Raises:
        InputError: If there is none.
    """
    if not path.exists():
        raise no_run(path)


def no_run(path: Path) -> InputError:
    """The error for a folder that holds no run."""
    return InputError(
        f"Expected a run in the folder {str(path)!r}, but there is none. Create one: "
        f"affinity record SOURCE --out {shlex.quote(str(path))}",
        "no-run",
    )
