"""Columns of a user's table: that they are there, and which there are."""

import difflib
from collections.abc import Sequence

import pandas as pd

from affinity.errors import InputError


def check_column(name: str, table: pd.DataFrame) -> None:
    """Refuse a column that the table does not have, and name the nearest that it has."""
    if name in table.columns:
        return
    near = difflib.get_close_matches(name, list(table.columns), n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}?" if near else f"the columns are {some(table.columns)}."
    raise InputError(f"Expected a column named {name!r}, but there is none; {hint}")


def some(names: Sequence[str] | pd.Index) -> str:
    """The first dozen names, and how many more there are.

    Example:
        >>> some(["depth", "edges"])
        'depth, edges'
    """
    listed = ", ".join(map(str, list(names)[:12]))
    return listed + (f" and {len(names) - 12} more" if len(names) > 12 else "")
