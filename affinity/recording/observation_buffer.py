"""Observation buffer: the arrays of one measurement while they are filled in."""

import torch
from torch import Tensor

from .gradients import LARGEST, SMALLEST
from .settings import Settings
from .shared_parameters import Layers
from .trace import Trace


class ObservationBuffer:
    """The arrays of one measurement; entries are missing (NaN) until they are filled in."""

    def __init__(
        self,
        tasks: tuple[str, ...],
        layers: Layers,
        device: torch.device,
        dtype: torch.dtype,
        wide: torch.dtype,
    ) -> None:
        def missing(*shape: int, dtype: torch.dtype = dtype) -> Tensor:
            return torch.full(shape, torch.nan, device=device, dtype=dtype)

        count = len(tasks)
        self.tasks = tasks
        self.layers = layers
        self.step = 0
        self.learning_rate = 0.0
        self.directions = 0
        self.losses = missing(count)
        self.held_out_losses: Tensor | None = None
        self.layer_gramians = missing(len(layers), count, count, dtype=wide)
        self.held_out_gramian = missing(count, count, dtype=wide)
        self.momentum_products = missing(count, dtype=wide)
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
        dtype = self.losses.dtype

        def entry(values: Tensor | None, *, is_measured: bool = True) -> Tensor | None:
            return _entry(values) if is_measured and values is not None else None

        def product(values: Tensor | None, *, is_measured: bool = True) -> Tensor | None:
            if values is None or not is_measured:
                return None
            return _entry(values if dtype == torch.float64 else _in_single_precision(values))

        return Trace(
            tasks=self.tasks,
            steps=torch.tensor([self.step], device="cpu"),
            losses=_entry(self.losses),
            gramians=product(self.layer_gramians.sum(0), is_measured=has_gramians),
            lookahead_losses=entry(lookahead_losses[0], is_measured=has_lookahead),
            held_out_losses=entry(self.held_out_losses),
            held_out_gramians=product(
                self.held_out_gramian, is_measured=has_gramians and is_held_out
            ),
            held_out_lookahead_losses=entry(
                lookahead_losses[1], is_measured=has_lookahead and is_held_out
            ),
            layers=tuple(self.layers) if has_layers else None,
            layer_gramians=product(self.layer_gramians, is_measured=has_layers),
            layer_norms=entry(layer_norms),
            learning_rates=torch.tensor([self.learning_rate], dtype=dtype, device="cpu"),
            directions=torch.tensor([self.directions], device="cpu"),
            momentum_products=product(self.momentum_products, is_measured=has_momentum),
            optimizer_steps=(
                torch.tensor([settings.step == "optimizer"], device="cpu")
                if has_lookahead
                else None
            ),
            predicted=(
                torch.tensor([self.predictions is not None], device="cpu")
                if has_lookahead
                else None
            ),
        )


def _in_single_precision(values: Tensor) -> Tensor:
    """The values in single precision, if none is too large or too small for it."""
    sizes = values[values.isfinite() & (values != 0)].abs()
    is_exact = not len(sizes) or (sizes.max() <= LARGEST and sizes.min() >= SMALLEST)
    return values.float() if is_exact else values


def _entry(values: Tensor) -> Tensor:
    """On the CPU, with an axis of time; what is not finite is missing."""
    values = values.detach().cpu()
    values = values if values.dtype == torch.float64 else values.float()
    return values.where(values.isfinite(), torch.nan)[None]
