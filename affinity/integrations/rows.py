"""Rows: the part of a batch that belongs to one task."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, cast

from jaxtyping import Bool
from torch import Tensor

from affinity.errors import InputError, warn
from affinity.recording import Recorder, Trace, select_rows

TaskOfBatch = str | int | Callable[[Any], Any]  # column or function that gives the task of rows


def labels_of(batch: Any, task: TaskOfBatch) -> object:
    """The task of the batch, or of each of its rows."""
    if callable(task):
        return task(batch)
    try:
        return batch[task]
    except (KeyError, IndexError, TypeError):
        columns = sorted(map(str, batch)) if isinstance(batch, Mapping) else type(batch).__name__
        raise InputError(
            f"Expected an input {task!r} that identifies the task of the batch or of each row, but "
            f"got {columns}. Keep the column in the data collator (in Transformers also: "
            "KeepColumn, and remove_unused_columns=False), or pass a function of the batch.",
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
    """Warn if nothing was recorded, no two tasks were measured together, or a task never was."""
    try:
        trace = recorder.trace()  # warns of missing pairs
    except InputError as error:
        warn(str(error), error.code)
        return
    never = trace.losses.isnan().all(dim=0).tolist()
    absent = [task for task, is_never in zip(trace.tasks, never, strict=True) if is_never]
    if absent and len(absent) < len(trace.tasks) - 1:
        warn(
            f"Nothing was measured of the tasks {absent}: their affinities are missing. Check "
            "their names, labels, and whether the run reads any of their rows.",
            "absent-task",
        )


class RecordingCallback:
    """The recorder of a callback; it exists once training has begun."""

    _recorder: Recorder | None = None

    @property
    def recorder(self) -> Recorder:
        """The recorder; it exists once training has begun."""
        if self._recorder is None:
            raise InputError(
                "Expected a run that has begun: call trainer.fit(...), or trainer.train(), first.",
                "not-begun",
            )
        return self._recorder

    def trace(self) -> Trace:
        """What was recorded so far."""
        return self.recorder.trace()


PACKED = (
    "sequences of several data sets are packed into one row. Set packing=False and "
    "padding_free=False, or pack each data set on its own and then add the column."
)


def _lengths(batch: Any, kind: type[Tensor] | type[list[Any]]) -> set[int]:
    """The first sizes of all tensors, or lists, of a batch."""
    own = {len(batch)} if isinstance(batch, kind) and getattr(batch, "ndim", 1) else set[int]()
    parts = cast("Mapping[Any, Any]", batch).values() if isinstance(batch, Mapping) else batch
    if isinstance(batch, Tensor | str) or not isinstance(batch, Mapping | Sequence):
        return own
    return own.union(*(_lengths(part, kind) for part in cast("Iterable[Any]", parts)))


class LatestRows:
    """The latest rows of each task, so that every measurement can evaluate every task."""

    def __init__(self) -> None:
        self._rows: dict[str, tuple[Any, Bool[Tensor, " row"] | None]] = {}

    def add(self, batch: Any, rows: Mapping[str, Bool[Tensor, " row"]]) -> None:
        """Keep a batch for the tasks of its rows, as `rows_by_task` gives them.

        Raises:
            InputError: If its rows are others than those whose tasks are given.
        """
        count = len(next(iter(rows.values()), ()))
        lengths = _lengths(batch, Tensor) or _lengths(batch, list)
        if len(rows) > 1 and count not in lengths:
            raise InputError(
                f"Expected the tasks of {count} rows in a batch with as many, but it has "
                f"{sorted(lengths)}: {PACKED}",
                "packed-rows",
            )
        for task, mask in rows.items():
            self._rows[task] = (batch, None if len(rows) == 1 else mask)

    def losses(self, evaluate: Callable[[Any], Any]) -> dict[str, Callable[[], Tensor]]:
        """One function per task that was met: its loss on its latest rows.

        `evaluate` gives the loss of a batch; or losses by task, of which the task's is taken.
        """

        def evaluate_task(task: str) -> Tensor:
            batch, mask = self._rows[task]
            loss = evaluate(batch if mask is None else select_rows(batch, mask))
            if isinstance(loss, Mapping):
                loss = cast("Mapping[str, Any]", loss).get(task)
            return loss.mean() if isinstance(loss, Tensor) else loss  # pyright: ignore

        return {task: partial(evaluate_task, task) for task in self._rows}
