"""Loss functions that are watched: for trainers that compute the losses of their tasks inside."""

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

import torch
from torch import Tensor

from affinity.recording import Recorder


def watch_losses(
    recorder: Recorder, loss_functions: Mapping[str, Callable[..., Tensor]]
) -> dict[str, Callable[..., Tensor]]:
    """The same loss functions; once each was called in a step, their losses are observed.

    The trainer calls them before its backward pass, so this is the place to observe. There is no
    lookahead: estimators that need gradients alone work. Calls without gradients (validation) are
    passed on. If a function is called twice before all were called, a new step begins.

    Args:
        recorder: Observes the losses.
        loss_functions: One per task; each returns the mean loss of a batch.

    Example:
        >>> weight = torch.nn.Parameter(torch.ones(2))
        >>> recorder = Recorder(shared=[weight], every=1)
        >>> mean = lambda prediction, target: (prediction - target).square().mean()
        >>> watched = watch_losses(recorder, {"a": mean, "b": mean})
        >>> total = watched["a"](weight, 0.0) + watched["b"](weight, 2.0)
        >>> recorder.trace().gramians.tolist()  # the gradients are opposite
        [[[2.0, -2.0], [-2.0, 2.0]]]
    """
    losses: dict[str, Tensor] = {}

    def watched(task: str, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def evaluate(*args: Any, **kwargs: Any) -> Tensor:
            loss = function(*args, **kwargs)
            if recorder.is_observing or not torch.is_grad_enabled() or not loss.requires_grad:
                return loss
            if task in losses:
                losses.clear()
            losses[task] = loss
            if losses.keys() == loss_functions.keys():
                step = {name: losses[name] for name in loss_functions}
                losses.clear()
                recorder.observe(step)
            return loss

        return wraps(function)(evaluate) if hasattr(function, "__name__") else evaluate

    return {task: watched(task, function) for task, function in loss_functions.items()}
