"""Transformers callback: records the tasks' losses while its Trainer trains."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from affinity.errors import InputError
from affinity.recording import Recorder, TaskLabels, rows_by_task
from affinity.recording.shared_parameters import Shared
from affinity.tensor_file import read_tensors, write_tensors

from .rows import (
    PACKED,
    LatestRows,
    RecordingCallback,
    TaskOfBatch,
    check_tasks_are_named,
    labels_of,
    warn_of_missing_pairs,
)

FILE = "affinity_recorder.safetensors"  # the recorder's state, in each checkpoint
KIND, VERSION = "recorder", 2
Inputs = dict[str, Any]  # the keyword arguments of the model's forward pass


class AffinityTrainerCallback(RecordingCallback, TrainerCallback):
    """Record a run of the Trainer; the run stays bit for bit the same.

    For a model whose output carries its tasks' losses in addition to ``loss``::

        AffinityTrainerCallback(shared="transformer", losses="task_losses", every=50)

    or for a mixture in which each batch, or each row, belongs to one task::

        AffinityTrainerCallback(shared="*lora*", task="source", tasks=["code", "prose"])

    `task` is the column that says which (removed before the model is called), or a function of the
    inputs. Set ``remove_unused_columns=False``, and let the collator keep the column: `KeepColumn`
    does so for any collator, that of TRL's ``SFTTrainer`` included. The loss of a task is then the
    output's ``loss`` on its rows: the latest rows of every task are kept, and each measurement
    evaluates every task on its own.

    The Trainer passes neither inputs nor outputs to its callbacks, so this one registers hooks on
    the model's forward pass. Each micro-batch counts as an observation. Losses are those of the
    micro-batch, whatever the number of accumulation steps: where the Trainer passes
    ``num_items_in_batch``, they are evaluated once more without it. The recorder's state is
    written into the run's checkpoints and read when the Trainer resumes from one in its output
    folder.

    Args:
        shared: What the tasks share, as for `Recorder`.
        losses: Attribute or key of the model's output, or the position in a tuple.
        task: For a mixture: the input, or a function of the inputs, with the task of the batch or
            of each row: names, or positions in ``tasks``.
        loss_by_row: With `task`: attribute, key or position of one loss per row in the output,
            instead of a forward pass per task.
        **settings: Further settings of `Recorder`: ``every=50``, ``overhead=0.05``, ...; for a
            mixture, ``tasks=[...]`` names all of them.

    Raises:
        InputError: If `task` is given without ``tasks=[...]``.
    """

    def __init__(
        self,
        shared: Shared = None,
        *,
        losses: str | int = "task_losses",
        task: TaskOfBatch | None = None,
        loss_by_row: str | int | None = None,
        **settings: Any,
    ) -> None:
        check_tasks_are_named(task, settings)
        self._shared = shared
        self._losses = losses
        self._task = task
        self._loss_by_row = loss_by_row
        self._settings = settings
        self._hooks: list[RemovableHandle] = []
        self._kept = LatestRows()
        self._labels: object = None
        self._is_observing = False

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Register hooks on the model's forward pass."""
        model = kwargs["model"]
        settings: dict[str, Any] = {"optimizer": kwargs.get("optimizer"), **self._settings}
        self._recorder = Recorder(model, self._shared, **settings)
        path = _checkpoint(args, state) / FILE
        if state.global_step and path.exists():
            tensors, text = read_tensors(path, KIND, VERSION)
            self._recorder.load_state_dict({**tensors, **text})
        self._hooks = [
            model.register_forward_pre_hook(self._before_forward, with_kwargs=True),
            model.register_forward_hook(self._after_forward, with_kwargs=True),
        ]

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Remove the hooks, and warn if no pair of tasks was measured."""
        for hook in self._hooks:
            hook.remove()
        self._hooks, self._kept = [], LatestRows()
        if state.is_world_process_zero:
            warn_of_missing_pairs(self.recorder)

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Write the recorder's state into the checkpoint."""
        folder = _checkpoint(args, state)
        if state.is_world_process_zero and folder.is_dir():
            entries = self.recorder.state_dict()
            tensors = {name: value for name, value in entries.items() if isinstance(value, Tensor)}
            text = {name: value for name, value in entries.items() if isinstance(value, str)}
            write_tensors(folder / FILE, tensors, text, KIND, VERSION)

    def _before_forward(
        self, model: nn.Module, args: tuple[object, ...], kwargs: Inputs
    ) -> tuple[tuple[object, ...], Inputs] | None:
        """Read the tasks of the batch, and remove their column from the inputs."""
        if self._task is None or self._is_observing:
            return None
        self._labels = labels_of(kwargs, self._task)
        if callable(self._task):
            return None
        return args, {name: value for name, value in kwargs.items() if name != self._task}

    def _after_forward(
        self, model: nn.Module, args: tuple[object, ...], kwargs: Inputs, output: object
    ) -> None:
        """Observe the losses, between the forward pass and the run's own backward pass."""
        if self._is_observing or not model.training or not torch.is_grad_enabled():
            return
        self._is_observing = True
        try:
            self._observe(model, args, kwargs, output)
        finally:
            self._is_observing = False

    def _observe(
        self, model: nn.Module, args: tuple[object, ...], kwargs: Inputs, output: object
    ) -> None:
        is_scaled = kwargs.get("num_items_in_batch") is not None
        inputs = {name: value for name, value in kwargs.items() if name != "num_items_in_batch"}
        if self._task is not None and self._loss_by_row is None:
            rows = rows_by_task(self._labels, self._settings["tasks"])
            self._kept.add(inputs, rows)
            self.recorder.observe(
                self._kept.losses(lambda batch: _entry(model(*args, **batch), "loss"))
            )
            return

        name = self._losses if self._loss_by_row is None else self._loss_by_row

        def evaluate() -> Any:
            return _entry(model(*args, **inputs), name)

        losses = cast("Any", _entry(output, name))
        if self._task is not None:
            self.recorder.observe(losses, evaluate, task=cast("TaskLabels", self._labels))
        elif is_scaled and self.recorder.is_due():
            self.recorder.observe({task: _loss_of(evaluate, task) for task in losses})
        else:
            self.recorder.observe(losses, evaluate)


@dataclass(frozen=True)
class KeepColumn:
    """A data collator that keeps a column which another one drops.

    With a Trainer: ``trainer.data_collator = KeepColumn(trainer.data_collator, "source")``.

    Args:
        collator: Makes a batch of rows without the column.
        column: The column; a batch holds the list of its values.

    Example:
        >>> rows = [{"x": 1, "source": "code"}, {"x": 2, "source": "prose"}]
        >>> KeepColumn(lambda rows: {"x": [row["x"] for row in rows]}, "source")(rows)
        {'x': [1, 2], 'source': ['code', 'prose']}
    """

    collator: Callable[[list[Inputs]], Mapping[str, Any]]
    column: str

    def __call__(self, rows: list[Inputs]) -> Inputs:
        """The batch of some rows."""
        if self.column not in rows[0] and "seq_lengths" in rows[0]:  # as TRL packs
            raise InputError(f"Expected a column {self.column!r}, but {PACKED}", "packed-rows")
        if any(self.column not in row for row in rows):
            raise InputError(
                f"Expected a column {self.column!r} in every row, but got {sorted(rows[0])}. Keep "
                "it in the data set, and set remove_unused_columns=False.",
                "missing-column",
            )
        others = [{k: v for k, v in row.items() if k != self.column} for row in rows]
        return {**self.collator(others), self.column: [row[self.column] for row in rows]}


def _loss_of(evaluate: Callable[[], Any], task: str) -> Callable[[], Tensor]:
    return lambda: evaluate()[task]


def _checkpoint(args: TrainingArguments, state: TrainerState) -> Path:
    return Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"


def _entry(output: object, name: str | int) -> object:
    """An entry of the model's output: by its key, attribute or position."""
    values = cast("tuple[object, ...]", output) if isinstance(output, tuple) else ()
    if values and isinstance(name, str):  # in a tuple, the loss is first, losses are a mapping
        mappings = [value for value in values if isinstance(value, Mapping)]
        entry = values[0] if name == "loss" else mappings[0] if len(mappings) == 1 else None
    elif isinstance(name, int):
        entry = values[name] if -len(values) <= name < len(values) else None
    elif isinstance(output, Mapping):
        entry = cast("Mapping[str, object]", output).get(name)
    else:
        entry = getattr(output, name, None)
    if entry is None:
        raise InputError(
            f"Expected the model's output to carry {name!r}, but got {_describe(output)}. Losses "
            "that the Trainer computes itself (label smoothing, compute_loss_func, an own "
            "compute_loss) are not in the output: record with Recorder.observe in compute_loss.",
            "missing-losses",
        )
    return entry


def _describe(output: object) -> str:
    if isinstance(output, tuple):
        values = cast("tuple[object, ...]", output)
        return f"a tuple of {', '.join(type(value).__name__ for value in values)}"
    entries = cast("Mapping[str, object]", output if isinstance(output, Mapping) else {})
    return f"{type(output).__name__} with {sorted(entries)}"
