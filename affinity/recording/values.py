"""The arrays of one measurement, filled in as it goes."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from .layers import Layers
from .trace import Trace


class Values:
    """Arrays of one measurement, missing (NaN) until filled in."""

    def __init__(
        self,
        tasks: tuple[str, ...],
        layers: Sequence[str],
        device: torch.device,
    ) -> None:
        count = len(tasks)
        self._tasks = tasks
        self.step = 0
        self.learning_rate = 0.0
        self.directions = 0
        self.losses = torch.full((count,), torch.nan)
        self.other_losses: Tensor | None = None
        self.layered = torch.full((len(layers), count, count), torch.nan, device=device)
        self.held_out = torch.full((count, count), torch.nan, device=device)
        self._momentum = torch.full((count,), torch.nan, device=device)
        self._lookahead = torch.full((2, count, count), torch.nan, device=device)

    def gramians(
        self, products: Float[Tensor, "layer a b"], rows: Sequence[str], columns: Sequence[str]
    ) -> None:
        """Fill in inner products of gradients on the same batch, a layer at a time."""
        places = self._places(rows)[:, None], self._places(columns)[None]
        self.layered[:, places[0], places[1]] = products

    def held_out_gramian(
        self, products: Float[Tensor, "source 1"], rows: Sequence[str], target: str
    ) -> None:
        """Fill in inner products with a target's gradient on the held-out batch."""
        self.held_out[self._places(rows), self._tasks.index(target)] = products[:, 0]

    def momentum(self, products: Float[Tensor, " some"], rows: Sequence[str] | None = None) -> None:
        """Fill in inner products of gradients with the momentum; of all tasks without `rows`."""
        self._momentum[self._places(rows or self._tasks)] = products

    def lookahead_row(self, source: str, row: Float[Tensor, " task"], *, held_out: bool) -> None:
        """Fill in the losses after a step along `source`, on one of the batches."""
        self._lookahead[int(held_out), self._tasks.index(source)] = row

    def trace(
        self,
        *,
        layers: Layers | None,
        parameters: Sequence[Tensor],
        has_gramians: bool,
        has_lookahead: bool,
        takes_own_step: bool,
        has_momentum: bool,
    ) -> Trace:
        """The measurement as a trace of one entry of time."""
        has_other = self.other_losses is not None
        norms = None
        if layers is not None:
            squares = [parameter.detach().float().square().sum() for parameter in parameters]
            norms = torch.stack(
                [torch.stack([squares[place] for place in each]).sum() for each in layers.values()]
            ).sqrt()
        return Trace(
            tasks=self._tasks,
            steps=torch.tensor([self.step]),
            losses=_kept(self.losses),
            gramians=_kept(self.layered.sum(0)) if has_gramians else None,
            lookahead_losses=_kept(self._lookahead[0]) if has_lookahead else None,
            held_out_losses=None if self.other_losses is None else _kept(self.other_losses),
            held_out_gramians=_kept(self.held_out) if has_gramians and has_other else None,
            held_out_lookahead_losses=(
                _kept(self._lookahead[1]) if has_lookahead and has_other else None
            ),
            layers=None if layers is None else tuple(layers),
            layer_gramians=None if layers is None else _kept(self.layered),
            layer_norms=None if norms is None else _kept(norms),
            learning_rates=torch.tensor([self.learning_rate]),
            directions=torch.tensor([self.directions]),
            momentum_products=_kept(self._momentum) if has_momentum else None,
            optimizer_steps=torch.tensor([takes_own_step]) if has_lookahead else None,
        )

    def _places(self, tasks: Sequence[str]) -> Tensor:
        return torch.tensor([self._tasks.index(task) for task in tasks])


def _kept(values: Tensor) -> Tensor:
    """On the CPU, with an axis of time; what is not finite is missing."""
    values = values.detach().float().cpu()
    return values.where(values.isfinite(), torch.nan)[None]
