"""Observation buffer: the arrays of one measurement while they are filled in."""

import torch
from torch import Tensor

from .settings import Settings
from .shared_parameters import Layers
from .trace import Trace


class ObservationBuffer:
    """The arrays of one measurement; entries are missing (NaN) until they are filled in."""

    def __init__(self, tasks: tuple[str, ...], layers: Layers, device: torch.device) -> None:
        def missing(*shape: int) -> Tensor:
            return torch.full(shape, torch.nan, device=device)

        count = len(tasks)
        self.tasks = tasks
        self.layers = layers
        self.step = 0
        self.learning_rate = 0.0
        self.directions = 0
        self.losses = missing(count)
        self.held_out_losses: Tensor | None = None
        self.layer_gramians = missing(len(layers), count, count)
        self.held_out_gramian = missing(count, count)
        self.momentum_products = missing(count)
        self.lookahead_losses = missing(2, count, count)  # on the batch, and held out
        self.predictions: Tensor | None = None  # instead of them, in double precision

    def trace(
        self,
        settings: Settings,
        layer_norms: Tensor | None,
        *,
        has_momentum: bool,
        has_lookahead: bool,
    ) -> Trace:
        """The measurement as a trace with one entry of time."""
        has_gramians, has_layers = settings.gramians, settings.layers is not None
        is_held_out = self.held_out_losses is not None
        lookahead_losses = self.lookahead_losses if self.predictions is None else self.predictions

        def entry(values: Tensor | None, *, is_measured: bool = True) -> Tensor | None:
            return _entry(values) if is_measured and values is not None else None

        return Trace(
            tasks=self.tasks,
            steps=torch.tensor([self.step]),
            losses=_entry(self.losses),
            gramians=entry(self.layer_gramians.sum(0), is_measured=has_gramians),
            lookahead_losses=entry(lookahead_losses[0], is_measured=has_lookahead),
            held_out_losses=entry(self.held_out_losses),
            held_out_gramians=entry(
                self.held_out_gramian, is_measured=has_gramians and is_held_out
            ),
            held_out_lookahead_losses=entry(
                lookahead_losses[1], is_measured=has_lookahead and is_held_out
            ),
            layers=tuple(self.layers) if has_layers else None,
            layer_gramians=entry(self.layer_gramians, is_measured=has_layers),
            layer_norms=entry(layer_norms),
            learning_rates=torch.tensor([self.learning_rate]),
            directions=torch.tensor([self.directions]),
            momentum_products=entry(self.momentum_products, is_measured=has_momentum),
            optimizer_steps=(
                torch.tensor([settings.step == "optimizer"]) if has_lookahead else None
            ),
            predicted=torch.tensor([self.predictions is not None]) if has_lookahead else None,
        )


def _entry(values: Tensor) -> Tensor:
    """On the CPU, with an axis of time; what is not finite is missing."""
    values = values.detach().cpu()
    values = values if values.dtype == torch.float64 else values.float()
    return values.where(values.isfinite(), torch.nan)[None]
