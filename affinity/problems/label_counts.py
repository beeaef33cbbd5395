"""Label counts: how many labels of a task each split holds, and whether they are enough."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
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
from affinity.words import count, in_percent, shorten

FEWEST_TO_JUDGE = 10
"""With fewer test rows outside the most frequent class, chance decides: the standard error of an
AUC from 9 positives is at least 0.05."""

MOSTLY_ONE_VALUE = 0.5  # share of equal numbers from which on the others are counted, as of classes
SERIOUS = 0.02  # share of test rows from which on classes that cannot be learned are serious
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
            rows, the number of groups that have such a row. Of numbers, the rows outside their
            most frequent value if at least half of the rows have it; else None.
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
    everything = torch.cat([rows.targets[:, column] for rows in splits.values()])
    known = everything[~everything.isnan()]
    most_frequent = known.mode().values
    is_number = not isinstance(task.loss, BinaryCrossEntropy | CrossEntropy | OrdinalCrossEntropy)
    if is_number and (known == most_frequent).double().mean() < MOSTLY_ONE_VALUE:
        return None
    return {
        name: _n_units(rows, ~labels.isnan() & (labels != most_frequent))
        for name, rows in splits.items()
        for labels in [rows.targets[:, column]]
    }


def _n_units(rows: Examples, is_counted: Bool[Tensor, " row"]) -> int:
    """Rows, or groups of rows."""
    return int(is_counted.sum()) if rows.groups is None else len(rows.groups[is_counted].unique())


def notes_on_counts(
    counts: Sequence[LabelCounts], censored: Collection[str] = (), has_groups: bool = False
) -> Iterator[DataNote]:
    """A note on each task with too few labels; one on all of them together if they are many."""
    unit = "test groups with rows" if has_groups else "test rows"
    few = [each for each in counts if each.is_too_few]
    if len(few) > MOST_NAMED:
        names = shorten((repr(each.task) for each in few), MOST_NAMED)
        yield DataNote(
            "too-few-to-judge",
            f"{len(few)} tasks have fewer than {FEWEST_TO_JUDGE} {unit} outside their most "
            f"frequent class or value, or fewer labelled test rows: {names}. That is too few to "
            f"judge them: {_REMEDY}.",
            "serious",
            value=float(len(few)),
        )
        return
    for each in few:
        part = each.labelled if each.minority is None else each.minority
        of = "groups with rows" if has_groups else "rows"
        rarer = f"{of} outside its most frequent class or value"
        rarer = f"{of} with an event" if each.task in censored else rarer
        what = "labelled rows" if each.minority is None else rarer
        shown = ", ".join(f"{part[name]} {name}" for name in SPLITS if name in part)
        yield DataNote(
            "too-few-to-judge",
            f"Task {each.task!r} has {shown} {what}. Fewer than {FEWEST_TO_JUDGE} of them in the "
            f"test split are too few to judge it: {_REMEDY}.",
            "serious",
            task=each.task,
            value=float(part["test"]),
        )


def notes_on_unseen_labels(
    tensor: Float[Tensor, "row task"],
    classes: Mapping[str, Sequence[object] | None],
    development: Int[Tensor, " development"],
    test: Int[Tensor, " test"],
) -> Iterator[DataNote]:
    """A note on each task whose test rows have classes that no development row has.

    And on each whose development rows all have the same label: no network can learn it.
    """
    for column, (name, names) in enumerate(classes.items()):
        labels, judged = (
            rows[~rows.isnan()] for rows in (tensor[development, column], tensor[test, column])
        )
        if len(labels.unique()) == 1:
            only = labels[0].item() if names is None else names[int(labels[0])]
            yield DataNote(
                "one-label",
                f"The development rows of task {name!r} have one label, {only!r}: there is "
                "nothing to learn from them. Leave the task out, or choose other test rows.",
                "serious",
                task=name,
            )
        elif names is not None and (is_new := ~torch.isin(judged, labels)).any():
            new = [repr(names[int(number)]) for number in judged[is_new].unique()]
            share = float(is_new.double().mean())
            yield DataNote(
                "unseen-classes",
                f"In {count(int(is_new.sum()), 'test row')} ({in_percent(share, 1)}), task "
                f"{name!r} has a class that no development row has: {shorten(new)}. No network can "
                "learn it. Choose other test rows, or leave these rows out.",
                "serious" if share >= SERIOUS else "warning",
                task=name,
                value=share,
            )


_REMEDY = "gather more rows, raise --test-share, or leave out such tasks"
