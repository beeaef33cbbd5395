"""Target kinds: what a label is, as far as a user said so."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast, get_args

from affinity.errors import InputError, check_choice

Kind = Literal[
    "binary", "classes", "regression", "count", "log", "ordinal", "set", "censored", "vector"
]
"""log: a regression of the logarithm; ordinal: classes in an order; set: labels in one cell, one
binary task per label; censored: times until an event that had not happened in all rows; vector:
several numbers."""
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class TargetKind:
    """The kind that a user chose for a target.

    Args:
        names: The levels of an ordinal or binary target, lowest first; the columns of a vector; the
            event column of a censored time, which says whether the event had happened.
    """

    kind: Kind
    names: tuple[str, ...] = ()

    @classmethod
    def of(cls, kind: "str | Sequence[str]", target: str) -> "TargetKind":
        """A kind as it is written: ``count``, ``ordinal:low,high``, ``censored:died``.

        Or a sequence, such as ``("vector", "x", "y")``, for names with commas.

        Raises:
            InputError: If there is no such kind, or it does not have the names that it needs.

        Example:
            >>> TargetKind.of("vector:x,y", "place").names
            ('x', 'y')
        """
        word, *names = [kind.partition(":")[0]] if isinstance(kind, str) else list(map(str, kind))
        if isinstance(kind, str) and ":" in kind:
            names = [name.strip() for name in kind.partition(":")[2].split(",")]
        check_choice(f"the kind of target {target!r}", word, KINDS, "unknown-kind")
        if word == "ordinal":
            is_complete = len(names) != 1
        else:
            is_complete = len(names) == {"censored": 1}.get(word, 0) or (
                word == "vector" and len(set(names)) == len(names) > 1
            )
        if not is_complete or not all(names):
            forms = {
                "ordinal": "ordinal or ordinal:LOWEST,...,HIGHEST",
                "censored": "censored:EVENT with the column that says whether the event happened",
                "vector": "vector:COLUMN,COLUMN with different columns",
            }
            raise InputError(
                f"Expected {forms.get(word, word)} as the kind of target {target!r}, but got "
                f"{kind!r}.",
                "unknown-kind",
            )
        return cls(cast("Kind", word), tuple(names))

    def columns(self, target: str) -> list[str]:
        """The columns of the table that the target is made of."""
        if self.kind == "vector":
            return list(self.names)
        return [target, *self.names] if self.kind == "censored" else [target]
