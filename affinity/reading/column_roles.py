"""Column roles: which columns of a table are predicted, and what others say about the rows."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from affinity.errors import InputError, check_known
from affinity.names import check_names
from affinity.words import shorten

from .cleaning import marks_by_column
from .options import ReadingOptions
from .source import check_column, column_names
from .target_kind import TargetKind


@dataclass(frozen=True)
class ColumnRoles:
    """The columns that have another use than being a feature, by name.

    Args:
        targets: The targets; of a long table the one column of labels.
        kinds: The kinds that a user chose, by target.
        task: The task of each row of a long table.
        group: Rows with the same value belong together.
        weight: How much each row counts.
        exclude: Columns that are not looked at.
    """

    targets: tuple[str, ...]
    kinds: Mapping[str, TargetKind] = field(default_factory=dict[str, TargetKind])
    task: str | None = None
    time: str | None = None
    split: str | None = None
    group: str | None = None
    weight: str | None = None
    exclude: tuple[str, ...] = ()

    @property
    def of_rows(self) -> dict[str, str]:
        """The columns that say something about rows, and what.

        Example:
            >>> ColumnRoles(("a", "b"), time="day").of_rows
            {'day': 'time of the row'}
        """
        roles = ("task", "time", "split", "group", "weight")
        columns: dict[str, str | None] = {role: getattr(self, role) for role in roles}
        return {name: f"{role} of the row" for role, name in columns.items() if name is not None}

    @property
    def parts(self) -> dict[str, list[str]]:
        """The columns that each target is made of.

        Example:
            >>> ColumnRoles(("place",), {"place": TargetKind("vector", ("x", "y"))}).parts
            {'place': ['x', 'y']}
        """
        return {
            target: self.kinds[target].columns(target) if target in self.kinds else [target]
            for target in self.targets
        }

    @property
    def labels(self) -> list[str]:
        """All columns that targets are made of."""
        return [part for parts in self.parts.values() for part in parts]

    def of_kind(self, *kinds: str) -> list[str]:
        """The targets of these kinds."""
        return [target for target, chosen in self.kinds.items() if chosen.kind in kinds]

    @property
    def events(self) -> list[str]:
        """The event columns of censored times."""
        return [self.kinds[target].names[0] for target in self.of_kind("censored")]

    def in_table(self, columns: Collection[str]) -> "ColumnRoles":
        """With the names of these columns to leave out; see `split_names`."""
        return replace(self, exclude=tuple(split_names(self.exclude, columns)))

    def check_header(self, source: Any, reading: ReadingOptions) -> None:
        """Check the columns of a file by its header, and those of the options to read it.

        Raises:
            InputError: As `check`; or a missing mark or a date format is for another column.
        """
        excluded = split_names(self.exclude, ())
        given = [*self.labels, *self.of_rows, *self.exclude, *excluded, *reading.columns]
        if (names := column_names(source, reading, given)) is None:
            return
        self.check(names)
        used = [name for name in names if name not in self.in_table(names).exclude]
        marks_by_column(used, reading.missing, reading.date_formats)

    def check(self, columns: Collection[str]) -> None:
        """Check that the table has these columns, and that each has one use.

        Raises:
            InputError: If not; the nearest name is given for a column that is missing.
        """
        check_known("kinds of targets", self.kinds, self.targets, "unknown-target")
        for name in (*self.labels, *self.in_table(columns).exclude, *self.of_rows):
            check_column(name, columns)
        check_names(self.targets)
        check_names(self.labels)
        if taken := [target for target in self.of_kind("vector") if target in columns]:
            raise InputError(
                f"Expected a new name for a target of several columns, but there is a column "
                f"{taken[0]!r}.",
                "duplicate-column",
            )
        if both := set(self.of_rows) & set(self.labels):
            raise InputError(
                f"Expected columns of tasks, times, splits, groups and weights that are no "
                f"targets, but {sorted(both)} are both.",
                "group-is-target" if self.group in both else "row-column-is-target",
            )
        if used := set(self.in_table(columns).exclude) & {*self.labels, *self.of_rows}:
            raise InputError(
                f"Expected columns to leave out that have no other use, but {sorted(used)} do.",
                "excluded-and-used",
            )
        if self.task is None and len(self.targets) < 2 and not self.of_kind("set"):
            raise InputError(
                f"Expected at least two targets, but got {list(self.targets) or 'none'}: "
                "name the columns to predict, as in --targets a,b (targets=['a', 'b'] in Python). "
                f"The columns are {shorten(list(columns))}.",
                "too-few-tasks",
            )
        several = self.of_kind("set", "vector", "censored")
        if several and self.task is not None:
            raise InputError(
                f"Expected one label per row in a long table, but {several} are of the kind "
                f"{self.kinds[several[0]].kind!r}.",
                "unknown-kind",
            )


def split_names(names: Sequence[str], columns: Collection[str]) -> list[str]:
    """Names of columns, of which several may be given with commas between them: "id,day"."""
    parts = [[name] if name in columns else name.split(",") for name in names]
    return [name if name in columns else name.strip() for each in parts for name in each]
