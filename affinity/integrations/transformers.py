"""Transformers callback: records the tasks' losses while its Trainer trains."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from affinity.errors import InputError
from affinity.recording import Recorder, Trace
from affinity.recording.shared_parameters import Shared
from affinity.tensor_file import read_tensors, write_tensors

FILE = "affinity_recorder.safetensors"
"""The file with the recorder's state in each of the run's checkpoints."""

KIND, VERSION = "recorder", 2

Inputs = dict[str, Any]
"""The keyword arguments of the model's forward pass."""


class AffinityTrainerCallback(TrainerCallback):
    """Record a run of the Trainer; the run stays bit for bit the same.

    For a model whose output carries its tasks' losses in addition to ``loss``::

        AffinityTrainerCallback(shared="transformer", losses="task_losses", every=50)

    or for a mixture in which each batch belongs to one task: `task` is the name of the input that
    identifies it (removed before the model is called; set ``remove_unused_columns=False``), or a
    function of the inputs; the output's ``loss`` is then that task's. The latest batch of every
    task is kept, and each measurement evaluates every task on its own batch.

    The Trainer passes neither inputs nor outputs to its callbacks, so this one registers hooks on
    the model's forward pass. Each micro-batch counts as an observation. The recorder's state is
    written into the run's checkpoints and read when the Trainer resumes from one in its output
    folder.

    Args:
        shared: What the tasks share, as for `Recorder`.
        losses: Attribute or key of the model's output.
        task: For a mixture: the input, or a function of the inputs, that identifies the batch's
            task.
        **settings: Further settings of `Recorder`: ``every=50``, ``overhead=0.05``, ...; for a
            mixture, ``tasks=[...]`` names all of them.
    """

    def __init__(
        self,
        shared: Shared = None,
        *,
        losses: str = "task_losses",
        task: str | Callable[[Inputs], str] | None = None,
        **settings: Any,
    ) -> None:
        if task is not None and "tasks" not in settings:
            raise InputError(
                "Expected the names of the mixture's tasks: pass tasks=[...].", "missing-tasks"
            )
        self._shared = shared
        self._losses = losses
        self._task = task
        self._settings = settings
        self._recorder: Recorder | None = None
        self._hooks: list[RemovableHandle] = []
        self._batches: dict[str, Inputs] = {}
        self._current: str | None = None
        self._is_observing = False

    @property
    def recorder(self) -> Recorder:
        """The recorder; it exists once training has begun."""
        if self._recorder is None:
            raise InputError(
                "Expected a run that has begun: call trainer.train() first.", "not-begun"
            )
        return self._recorder

    def trace(self) -> Trace:
        """What was recorded so far."""
        return self.recorder.trace()

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Register hooks on the model's forward pass."""
        model, optimizer = kwargs["model"], kwargs.get("optimizer")
        self._recorder = Recorder(model, self._shared, **self._settings)
        if "optimizer" not in self._settings and optimizer is not None:
            # Accelerate's wrapper has the groups and the state of the optimizer that it wraps.
            self._recorder.optimizer = getattr(optimizer, "optimizer", optimizer)
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
        """Remove the hooks."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []
        self._batches = {}

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
        """Find a batch's task, and remove its name from the inputs."""
        if self._task is None or self._is_observing:
            return None
        if callable(self._task):
            self._current = self._task(kwargs)
            return None
        if self._task not in kwargs:
            raise InputError(
                f"Expected an input {self._task!r} that identifies the batch's task, but got "
                f"{sorted(kwargs)}. Keep the column: TrainingArguments("
                "remove_unused_columns=False), and pass it on in the data collator.",
                "missing-input",
            )
        self._current = _single_task(kwargs[self._task])
        return args, {name: value for name, value in kwargs.items() if name != self._task}

    def _after_forward(
        self, model: nn.Module, args: tuple[object, ...], kwargs: Inputs, output: object
    ) -> None:
        """Observe the losses, between the forward pass and the run's own backward pass."""
        if self._is_observing or not model.training or not torch.is_grad_enabled():
            return
        self._is_observing = True
        try:
            if self._task is None:
                self.recorder.observe(
                    self._task_losses(output),
                    closure=lambda: self._task_losses(model(*args, **kwargs)),
                )
            else:
                self._observe_mixture(model, kwargs)
        finally:
            self._is_observing = False

    def _observe_mixture(self, model: nn.Module, kwargs: Inputs) -> None:
        assert self._current is not None
        self._batches[self._current] = kwargs

        def loss_on(inputs: Inputs) -> Callable[[], Tensor]:
            return lambda: cast("Tensor", _entry(model(**inputs), "loss"))

        self.recorder.observe({task: loss_on(inputs) for task, inputs in self._batches.items()})

    def _task_losses(self, output: object) -> Mapping[str, Tensor]:
        return cast("Mapping[str, Tensor]", _entry(output, self._losses))


def _checkpoint(args: TrainingArguments, state: TrainerState) -> Path:
    return Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"


def _entry(output: object, name: str) -> object:
    entries = cast("Mapping[str, object]", output if isinstance(output, Mapping) else vars(output))
    if entries.get(name) is None:
        raise InputError(
            f"Expected the model's output to carry {name!r}, but got {type(output).__name__} "
            f"with {sorted(entries)}.",
            "missing-losses",
        )
    return entries[name]


def _single_task(column: object) -> str:
    """The one task in a batch's column of task names."""
    if isinstance(column, str):
        return column
    names = {str(name) for name in cast("list[object]", column)}
    if len(names) != 1:
        raise InputError(
            f"Expected batches that belong to one task each, but one mixes {sorted(names)}: "
            "batch the mixture by task, or record a model whose output carries all losses.",
            "mixed-batch",
        )
    return names.pop()
