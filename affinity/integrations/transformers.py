"""A door into Transformers: a callback that records tasks' losses while its Trainer trains."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from affinity.errors import InputError
from affinity.recording import Recorder, Trace
from affinity.recording.shared_parameters import Shared

FILE = "affinity_recorder.safetensors"
"""What is written into each of the run's checkpoints."""


class AffinityTrainerCallback(TrainerCallback):
    """Record a run of the Trainer: the same run, bit for bit.

    For a model whose output carries its tasks' losses beside ``loss``::

        AffinityTrainerCallback(shared="transformer", losses="task_losses", every=50)

    or for a mixture in which each batch belongs to one task: `task` names the input that says
    which (it is taken out before the model sees it; set ``remove_unused_columns=False``), or is a
    function of the inputs; the output's ``loss`` is then that task's. The latest batch of every
    task is kept, and at a measurement each task is evaluated on its own.

    The callbacks of the Trainer see neither inputs nor outputs, so this one stands at the model's
    forward pass. Each micro-batch counts as an observation. The recorder's state is written into
    the run's checkpoints and taken up when the Trainer resumes from one in its output folder.

    Args:
        shared: What the tasks share, as `Recorder` takes it.
        losses: Attribute or key of the model's output.
        task: Of a mixture: the input, or a function of the inputs, that tells a batch's task.
        **settings: Further settings of `Recorder`: ``every=50``, ``overhead=0.05``, ...; for a
            mixture ``tasks=[...]`` names all of them.
    """

    def __init__(
        self,
        shared: Shared = None,
        *,
        losses: str = "task_losses",
        task: str | Callable[[Mapping[str, Any]], str] | None = None,
        **settings: Any,
    ) -> None:
        if task is not None and "tasks" not in settings:
            raise InputError("Expected the names of the mixture's tasks: pass tasks=[...].")
        self._shared = shared
        self._losses = losses
        self._task = task
        self._settings = settings
        self._recorder: Recorder | None = None
        self._hooks: list[RemovableHandle] = []
        self._batches: dict[str, dict[str, Any]] = {}
        self._current: str | None = None
        self._is_looking = False

    @property
    def recorder(self) -> Recorder:
        """The recorder; there is one once training has begun."""
        if self._recorder is None:
            raise InputError("Expected a run that has begun: call trainer.train() first.")
        return self._recorder

    def trace(self) -> Trace:
        """What was recorded so far."""
        return self.recorder.trace()

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Stand at the model's forward pass."""
        model, optimizer = kwargs["model"], kwargs.get("optimizer")
        self._recorder = Recorder(model, self._shared, **self._settings)
        if "optimizer" not in self._settings and optimizer is not None:
            # Accelerate's wrapper has the groups and the state of the one that it wraps.
            self._recorder.optimizer = getattr(optimizer, "optimizer", optimizer)
        kept = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}" / FILE
        if state.global_step and kept.exists():
            self._recorder.load_state_dict(_read(kept))
        self._hooks = [
            model.register_forward_pre_hook(self._before, with_kwargs=True),
            model.register_forward_hook(self._after, with_kwargs=True),
        ]

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Leave the model as it was."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []
        self._batches = {}

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Write the recorder's state into the checkpoint."""
        folder = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
        if state.is_world_process_zero and folder.is_dir():
            entries = self.recorder.state_dict()
            save_file(
                {name: value for name, value in entries.items() if isinstance(value, Tensor)},
                folder / FILE,
                metadata={k: value for k, value in entries.items() if isinstance(value, str)},
            )

    def _before(
        self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        """See which task a batch is of, and take the name out of the inputs."""
        if self._task is None or self._is_looking:
            return None
        if callable(self._task):
            self._current = self._task(kwargs)
            return None
        if self._task not in kwargs:
            raise InputError(
                f"Expected an input {self._task!r} that tells the batch's task, but got "
                f"{sorted(kwargs)}. Keep the column: TrainingArguments("
                "remove_unused_columns=False), and pass it on in the data collator."
            )
        told = kwargs[self._task]
        self._current = _only(told)
        return args, {name: value for name, value in kwargs.items() if name != self._task}

    def _after(
        self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> None:
        """Observe the losses, between the forward pass and the run's own backward pass."""
        if self._is_looking or not model.training or not torch.is_grad_enabled():
            return
        self._is_looking = True
        try:
            if self._task is None:
                self.recorder.observe(
                    self._of(output), closure=lambda: self._of(model(*args, **kwargs))
                )
            else:
                self._observe_mixture(model, kwargs)
        finally:
            self._is_looking = False

    def _observe_mixture(self, model: nn.Module, kwargs: dict[str, Any]) -> None:
        assert self._current is not None
        self._batches[self._current] = kwargs

        def loss_on(inputs: dict[str, Any]) -> Callable[[], Tensor]:
            return lambda: _entry(model(**inputs), "loss")

        self.recorder.observe({task: loss_on(inputs) for task, inputs in self._batches.items()})

    def _of(self, output: Any) -> Mapping[str, Tensor]:
        return cast("Mapping[str, Tensor]", _entry(output, self._losses))


def _entry(output: Any, name: str) -> Any:
    value = output.get(name) if isinstance(output, Mapping) else getattr(output, name, None)
    if value is None:
        raise InputError(
            f"Expected the model's output to carry {name!r}, but got {type(output).__name__} "
            f"with {sorted(output) if isinstance(output, Mapping) else sorted(vars(output))}."
        )
    return value


def _only(told: Any) -> str:
    """The one task that a batch's column names."""
    names = {told} if isinstance(told, str) else {str(name) for name in told}
    if len(names) != 1:
        raise InputError(
            f"Expected batches that belong to one task each, but one mixes {sorted(names)}: "
            "batch the mixture by task, or record a model whose output carries all losses."
        )
    return names.pop()


def _read(path: Path) -> dict[str, Tensor | str]:
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return {**tensors, **(file.metadata() or {})}
