"""Rows: the part of a batch that belongs to one task."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, cast

from jaxtyping import Bool
from torch import Tensor

from affinity.errors import InputError, warn
from affinity.recording import Recorder

TaskOfBatch = str | int | Callable[[Any], Any]
"""A column of the batch, or a function of the batch, that says which task it or each row has."""


def labels_of(batch: Any, task: TaskOfBatch) -> object:
    """The task of the batch, or of each of its rows.

    Raises:
        InputError: If the batch has no such column.
    """
    if callable(task):
        return task(batch)
    try:
        return batch[task]
    except (KeyError, IndexError, TypeError):
        columns = sorted(map(str, batch)) if isinstance(batch, Mapping) else type(batch).__name__
        raise InputError(
            f"Expected an input {task!r} that identifies the task of the batch or of each row, but "
            f"got {columns}. Keep the column in the data collator (in Transformers also: "
            "TrainingArguments(remove_unused_columns=False)), or pass a function of the batch.",
            "missing-input",
        ) from None


def check_tasks_are_named(task: TaskOfBatch | None, settings: Mapping[str, Any]) -> None:
    """Raise an error if batches have tasks, but the recorder is not given their names."""
    if task is not None and not settings.get("tasks"):
        raise InputError(
            "Expected the names of all tasks together with task=...: pass tasks=[...].",
            "missing-tasks",
        )


def warn_of_missing_pairs(recorder: Recorder) -> None:
    """Warn if nothing was recorded, or no two tasks were measured together."""
    try:
        recorder.trace()  # warns of missing pairs
    except InputError as error:
        warn(str(error), error.code)


class LatestRows:
    """The latest rows of each task, so that every measurement can evaluate every task."""

    def __init__(self) -> None:
        self._rows: dict[str, tuple[Any, Bool[Tensor, " row"] | None]] = {}

    def add(self, batch: Any, rows: Mapping[str, Bool[Tensor, " row"]]) -> None:
        """Keep a batch for the tasks of its rows, as `rows_by_task` gives them."""
        for task, mask in rows.items():
            self._rows[task] = (batch, None if len(rows) == 1 else mask)

    def losses(self, evaluate: Callable[[Any], Any]) -> dict[str, Callable[[], Tensor]]:
        """One function per task that was met: its loss on its latest rows.

        Args:
            evaluate: The loss of a batch; or losses by task, of which the task's is taken.
        """

        def evaluate_task(task: str) -> Tensor:
            batch, mask = self._rows[task]
            loss = evaluate(batch if mask is None else take_rows(batch, mask))
            if isinstance(loss, Mapping):
                loss = cast("Mapping[str, Any]", loss).get(task)
            return loss.mean() if isinstance(loss, Tensor) else loss  # pyright: ignore

        return {task: partial(evaluate_task, task) for task in self._rows}


def take_rows(batch: Any, mask: Bool[Tensor, " row"]) -> Any:
    """The rows of a batch: of each tensor and list in it that has one entry per row.

    Example:
        >>> import torch
        >>> batch = {"x": torch.arange(3), "names": ["a", "b", "c"], "scale": 2.0}
        >>> take_rows(batch, torch.tensor([True, False, True]))
        {'x': tensor([0, 2]), 'names': ['a', 'c'], 'scale': 2.0}
    """
    if isinstance(batch, Tensor):
        has_rows = batch.dim() > 0 and len(batch) == len(mask)
        return batch[mask.to(batch.device)] if has_rows else batch
    if isinstance(batch, Mapping):
        entries = cast("Mapping[str, Any]", batch).items()
        return {name: take_rows(value, mask) for name, value in entries}
    if isinstance(batch, str) or not isinstance(batch, Sequence):
        return batch
    values = cast("Sequence[Any]", batch)
    if isinstance(values, list) and len(values) == len(mask) and not _are_columns(values):
        return [value for value, is_taken in zip(values, mask.tolist(), strict=True) if is_taken]
    taken = [take_rows(value, mask) for value in values]
    return type(values)(*taken) if hasattr(values, "_fields") else type(values)(taken)  # pyright: ignore


def _are_columns(values: Sequence[Any]) -> bool:
    """Whether a list with as many entries as the batch has rows holds columns of rows instead."""
    return any(
        isinstance(value, Tensor) and value.dim() > 0 and len(value) == len(values)
        for value in values
    )
