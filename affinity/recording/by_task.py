"""Losses by task of a batch that belongs to one task, or whose rows belong to several."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from affinity.errors import InputError

TaskLabels = str | int | Tensor | Sequence[str] | Sequence[int]
"""The task of a batch, or of each of its rows: a name, or its position among the tasks."""


def losses_by_task(
    loss: object, labels: TaskLabels, tasks: Sequence[str] | None
) -> dict[str, Float[Tensor, ""]]:
    """The mean loss of each task that is present.

    Args:
        loss: The loss of a batch of one task, or one loss per row.
        labels: The task of the batch, or one per row.
        tasks: All tasks, which positions refer to.

    Raises:
        InputError: If there is not one label per loss, or a label is no task.

    Example:
        >>> losses = losses_by_task(torch.tensor([1.0, 2.0, 3.0]), ["a", "b", "a"], None)
        >>> {task: loss.item() for task, loss in losses.items()}
        {'a': 2.0, 'b': 2.0}
    """
    if not isinstance(loss, Tensor):
        raise InputError(
            "Expected the loss of the batch, or one loss per row, as a tensor together with task="
            f"..., but got {type(loss).__name__}: omit task= where losses are given by task.",
            "no-tensor",
        )
    rows = rows_by_task(labels, tasks)
    if loss.numel() == 1 and len(rows) == 1:
        return {task: loss.reshape(()) for task in rows}
    count = len(next(iter(rows.values()), ()))
    if loss.dim() == 0 or (count != 1 and len(loss) != count) or (count == 1 and len(rows) > 1):
        raise InputError(
            f"Expected one loss per row for a batch with {count} rows of the tasks "
            f"{list(rows)}, but got the shape {tuple(loss.shape)}: compute the loss with "
            'reduction="none", and take its mean over all axes but the first.',
            "loss-per-row",
        )
    per_row = loss.flatten(1).mean(1) if loss.dim() > 1 else loss
    if count == 1:
        return {task: per_row.mean() for task in rows}
    return {task: per_row[mask.to(loss.device)].mean() for task, mask in rows.items()}


def rows_by_task(labels: object, tasks: Sequence[str] | None) -> dict[str, Bool[Tensor, " row"]]:
    """Which rows belong to each task that is present, in the order of `tasks`.

    Raises:
        InputError: If a label is no task, or the positions of a row belong to several tasks.
    """
    names = _names(_label_by_row(labels), tasks)
    present = dict.fromkeys(names)
    order = [task for task in tasks if task in present] if tasks is not None else list(present)
    return {task: torch.tensor([name == task for name in names]) for task in order}


def _label_by_row(labels: object) -> object:
    """One label per row, where labels may be given for each position of a row."""
    if isinstance(labels, Tensor) and labels.dim() > 1:
        labels = labels.flatten(1).tolist()
    if not isinstance(labels, list | tuple) or not all(isinstance(row, list) for row in labels):
        return labels
    rows = cast("Sequence[list[object]]", labels)
    if mixed := [number for number, row in enumerate(rows) if len(set(row)) != 1]:
        raise InputError(
            f"Expected each row of the batch to belong to one task, but the positions of rows "
            f"{mixed[:5]} belong to several or none: sequences of several data sets are packed "
            "into one row. Pack each data set on its own (packing=False, or one packed data set "
            "per task, which are then mixed by row).",
            "packed-rows",
        )
    return [row[0] for row in rows]


def _names(labels: object, tasks: Sequence[str] | None) -> list[str]:
    if isinstance(labels, Tensor):
        labels = labels.flatten().tolist()
    if isinstance(labels, str | int):
        labels = [labels]
    if not isinstance(labels, Iterable) or isinstance(labels, Mapping | bytes):
        raise InputError(
            "Expected the task of the batch, or one per row: names, or positions among the tasks, "
            f"but got {type(labels).__name__}.",
            "unknown-task",
        )
    names: list[str] = []
    for label in cast("Iterable[object]", labels):
        value = label.item() if isinstance(label, Tensor | np.generic) else label
        if isinstance(value, int) and tasks is not None and 0 <= value < len(tasks):
            names.append(tasks[value])
        elif isinstance(value, str) and (tasks is None or value in tasks):
            names.append(value)
        else:
            known = "none are named" if tasks is None else f"the tasks are {tuple(tasks)}"
            raise InputError(
                f"Expected the name of a task, or its position, but got {value!r}, and {known}: "
                "name all in tasks=[...].",
                "unknown-task",
            )
    if not names:
        raise InputError("Expected the task of the batch, but got no label.", "unknown-task")
    return names


def select_rows(batch: Any, mask: Bool[Tensor, " row"]) -> Any:
    """The rows of a batch: of each tensor and list in it that has one entry per row.

    Example:
        >>> import torch
        >>> batch = {"x": torch.arange(3), "names": ["a", "b", "c"], "scale": 2.0}
        >>> select_rows(batch, torch.tensor([True, False, True]))
        {'x': tensor([0, 2]), 'names': ['a', 'c'], 'scale': 2.0}
    """
    if isinstance(batch, Tensor):
        has_rows = batch.dim() > 0 and len(batch) == len(mask)
        return batch[mask.to(batch.device)] if has_rows else batch
    if isinstance(batch, Mapping):
        entries = cast("Mapping[str, Any]", batch).items()
        return {name: select_rows(value, mask) for name, value in entries}
    if isinstance(batch, str) or not isinstance(batch, Sequence):
        return batch
    values = cast("Sequence[Any]", batch)
    if isinstance(values, list) and len(values) == len(mask) and not _are_columns(values):
        return [value for value, is_taken in zip(values, mask.tolist(), strict=True) if is_taken]
    taken = [select_rows(value, mask) for value in values]
    return type(values)(*taken) if hasattr(values, "_fields") else type(values)(taken)  # pyright: ignore


def _are_columns(values: Sequence[Any]) -> bool:
    """Whether a list with as many entries as the batch has rows holds columns of rows instead."""
    return any(
        isinstance(value, Tensor) and value.dim() > 0 and len(value) == len(values)
        for value in values
    )
