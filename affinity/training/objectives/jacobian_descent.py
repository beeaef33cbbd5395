"""Jacobian descent: task gradients combined by one of TorchJD's aggregators."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from affinity.errors import InputError, check_choice
from affinity.extras import needs

from .objective import Balance, Objective
from .task_gradients import shared, task_gradients


@dataclass(frozen=True)
class JacobianDescent(Objective):
    """The step on shared parameters that an aggregator makes of the tasks' gradients.

    Task-specific parameters follow the gradient of their own task. UPGrad, PCGrad, CAGrad, MGDA,
    NashMTL, AlignedMTL and others come from `TorchJD <https://torchjd.org>`_. The state that an
    aggregator keeps between steps (NashMTL) is not saved in checkpoints. Costs one backward pass
    per task.

    Args:
        aggregator: Name of a class in `torchjd.aggregation`.
        settings: Its arguments, as pairs.

    Raises:
        InputError: If TorchJD, or what the aggregator needs, is not installed, or the name unknown.

    References:
        Quinton and Rey (2024), `Jacobian Descent for Multi-Objective Optimization
        <https://arxiv.org/abs/2406.16232>`_.
    """

    aggregator: str = "UPGrad"
    settings: tuple[tuple[str, Any], ...] = ()

    def start(self, names: Sequence[str], like: Tensor) -> Balance:
        """Begin a training."""
        del names, like
        return _Aggregated(self._made())

    def _made(self) -> Any:
        with needs("torchjd"):
            from torchjd import aggregation  # pyright: ignore[reportMissingImports]
        known = [name for name in aggregation.__all__ if name[0].isupper()]
        check_choice("the aggregator", self.aggregator, known, "unknown-aggregator")
        try:
            with needs("torchjd"):
                return getattr(aggregation, self.aggregator)(**dict(self.settings))
        except TypeError as error:
            raise InputError(
                f"Expected settings of {self.aggregator}, but got {self.settings}: {error}.",
                "invalid-setting",
            ) from error


class _Aggregated(Balance):
    def __init__(self, aggregator: Any) -> None:
        super().__init__()
        self.aggregator = aggregator

    def backward(self, losses: Sequence[Tensor], is_present: Tensor, rest: Tensor) -> None:
        present = is_present.tolist()
        here = [loss for loss, is_here in zip(losses, present, strict=True) if is_here]
        parameters, gradients = task_gradients(here)
        is_shared = shared(gradients)
        if rest.requires_grad:
            rest.backward()
        common = [p for p, both in zip(parameters, is_shared, strict=True) if both]
        if common:
            jacobian = torch.stack(
                [
                    torch.cat(
                        [
                            (torch.zeros_like(p) if g is None else g).flatten()
                            for p, g, both in zip(parameters, own, is_shared, strict=True)
                            if both
                        ]
                    )
                    for own in gradients
                ]
            )
            steps = self.aggregator(jacobian).split([p.numel() for p in common])
            for parameter, step in zip(common, steps, strict=True):
                _add(parameter, step.view_as(parameter))
        for parameter, both, column in zip(
            parameters, is_shared, zip(*gradients, strict=True), strict=True
        ):
            for gradient in column:
                if not both and gradient is not None:
                    _add(parameter, gradient)


def _add(parameter: Tensor, gradient: Tensor) -> None:
    parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
