"""The race for the plan as rows of a table: each grouping once, under all names that it ran by."""

from collections.abc import Mapping, Sequence
from typing import Any


def race_rows(contenders: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Contenders as `RaceResult.frame` gives them, those of the same networks in one row.

    Example:
        >>> rows = [
        ...     {"contender": "plan", "networks": "a, b"},
        ...     {"contender": "separate", "networks": "a | b"},
        ...     {"contender": "all-in-one", "networks": "a, b"},
        ... ]
        >>> [row["contender"] for row in race_rows(rows)]
        ['plan, all-in-one', 'separate']
    """
    rows: dict[str, dict[str, Any]] = {}
    for each in contenders:
        row = rows.setdefault(each["networks"], {**each, "contender": ""})
        row["contender"] += ", " * bool(row["contender"]) + each["contender"]
    return list(rows.values())
