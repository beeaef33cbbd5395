"""Label counts: how many labels of a task each split holds, and whether they are enough."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor

from affinity.reading import DataNote
from affinity.tasks import (
    BinaryCrossEntropy,
    CensoredDeviance,
    CrossEntropy,
    Examples,
    OrdinalCrossEntropy,
    Task,
)

FEWEST_TO_JUDGE = 10
"""With fewer test rows outside the most frequent class, chance decides: the standard error of an
AUC from 9 positives is at least 0.05."""

SPLITS = ("training", "validation", "selection", "test")
MOST_NAMED = 5


@dataclass(frozen=True)
class LabelCounts:
    """The labels of one task in each split.

    Args:
        task: The task's name.
        labelled: Labelled rows by split: training, validation, selection (of the first replicate;
            the others are similar) and test.
        minority: Of these, the rows outside the most frequent class (for a binary task, the rows
            of the rarer class), or of a censored time the rows with an event; with groups of
            rows, the number of groups that have such a row. None for numbers.
    """

    task: str
    labelled: Mapping[str, int]
    minority: Mapping[str, int] | None = None

    @property
    def is_too_few(self) -> bool:
        """Whether there are too few test labels for a verdict; see `FEWEST_TO_JUDGE`."""
        counts = self.labelled if self.minority is None else self.minority
        return counts["test"] < FEWEST_TO_JUDGE


def count_labels(tasks: Sequence[Task], splits: Mapping[str, Examples]) -> tuple[LabelCounts, ...]:
    """The labels of every task in every split."""
    return tuple(
        LabelCounts(
            task.name,
            {name: int((~rows.targets[:, column].isnan()).sum()) for name, rows in splits.items()},
            _minority(task, column, splits),
        )
        for column, task in enumerate(tasks)
    )


def _minority(task: Task, column: int, splits: Mapping[str, Examples]) -> dict[str, int] | None:
    if isinstance(task.loss, CensoredDeviance):
        return {name: _n_units(rows, rows.targets[:, column] > 0) for name, rows in splits.items()}
    if not isinstance(task.loss, BinaryCrossEntropy | CrossEntropy | OrdinalCrossEntropy):
        return None
    everything = torch.cat([rows.targets[:, column] for rows in splits.values()])
    most_frequent = everything[~everything.isnan()].mode().values
    return {
        name: _n_units(rows, ~labels.isnan() & (labels != most_frequent))
        for name, rows in splits.items()
        for labels in [rows.targets[:, column]]
    }


def _n_units(rows: Examples, is_counted: Bool[Tensor, " row"]) -> int:
    """Rows, or groups of rows."""
    return int(is_counted.sum()) if rows.groups is None else len(rows.groups[is_counted].unique())


def notes_on_counts(
    counts: Sequence[LabelCounts], censored: Collection[str] = ()
) -> Iterator[DataNote]:
    """A note on each task with too few labels; one on all of them together if they are many."""
    few = [each for each in counts if each.is_too_few]
    if len(few) > MOST_NAMED:
        names = ", ".join(repr(each.task) for each in few[:MOST_NAMED])
        yield DataNote(
            "too-few-to-judge",
            f"{len(few)} tasks have fewer than {FEWEST_TO_JUDGE} test rows outside their most "
            f"frequent class, or fewer labelled test rows: {names} and {len(few) - MOST_NAMED} "
            f"more. That is too few to judge them: {_REMEDY}.",
            "serious",
            value=float(len(few)),
        )
        return
    for each in few:
        part = each.labelled if each.minority is None else each.minority
        rarer = "rows with an event" if each.task in censored else "rows of its rarer classes"
        what = "labelled rows" if each.minority is None else rarer
        shown = ", ".join(f"{part[name]} {name}" for name in SPLITS if name in part)
        yield DataNote(
            "too-few-to-judge",
            f"Task {each.task!r} has {shown} {what}. Fewer than {FEWEST_TO_JUDGE} test rows are "
            f"too few to judge it: {_REMEDY}.",
            "serious",
            task=each.task,
            value=float(part["test"]),
        )


_REMEDY = "gather more rows, raise --test-share, or leave out such tasks"
