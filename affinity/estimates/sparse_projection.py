"""Sparse projection: the sum of a gradient's numbers with random signs, in random buckets."""

import hashlib
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from affinity.recording.sketch import random_signs

_WIDTH = 1 << 16


class SparseProjection:
    r"""Project vectors of any length to d numbers, with one byte per parameter and no matrix.

    .. math:: (P^T g)_b = \sum_{i:\, h(i) = b} s_i \, g_i, \qquad s_i = \pm 1

    Each parameter has a random sign, and belongs to one of d buckets of equal size, at random.
    Inner products are preserved in expectation, with a relative error of about
    :math:`1 / \sqrt{d}`, and the columns of P are orthogonal. With as many dimensions as
    parameters, or None, nothing is lost. The same seed gives the same projection in every process.

    References:
        Charikar, Chen and Farach-Colton (2002), Finding Frequent Items in Data Streams.
    """

    def __init__(
        self, parameters: Mapping[str, Tensor], dimensions: int | None, seed: int = 0
    ) -> None:
        self.n_parameters = sum(value.numel() for value in parameters.values())
        self.dimensions = min(dimensions or self.n_parameters, self.n_parameters)
        self._shapes = [value.shape for value in parameters.values()]
        self._signs: list[Tensor] = []
        if dimensions is None:
            return
        n_slots = self.dimensions * -(-min(self.n_parameters, _WIDTH) // self.dimensions)
        generator = torch.Generator().manual_seed(seed)
        self._order = torch.randperm(n_slots, generator=generator)
        for name, value in parameters.items():
            digest = hashlib.blake2b(f"{seed} {name}".encode(), digest_size=6).digest()
            generator.manual_seed(int.from_bytes(digest, "big"))
            like = torch.empty(value.numel(), dtype=torch.int8)
            self._signs.append(random_signs([like], generator)[0].to(value.device))

    def __call__(self, gradient: Sequence[Tensor]) -> Float[Tensor, "*batch dimension"]:
        """The projection of gradients ``[*batch *parameter]``, given by parameter, on the CPU."""
        batch = gradient[0].shape[: gradient[0].dim() - len(self._shapes[0])]
        flat = [
            part.detach().reshape(*batch, -1).to(torch.promote_types(part.dtype, torch.float32))
            for part in gradient
        ]
        if not self._signs:
            return torch.cat([part.cpu().double() for part in flat], dim=-1)
        slots = torch.zeros(*batch, len(self._order)).double()
        start = 0
        for part, signs in zip(flat, self._signs, strict=True):
            slots += _fold(part * signs, start, len(self._order)).cpu()
            start = (start + part.shape[-1]) % len(self._order)
        return slots[..., self._order].view(*batch, -1, self.dimensions).sum(dim=-2)


def _fold(
    values: Float[Tensor, "*batch number"], start: int, width: int
) -> Float[Tensor, "*batch slot"]:
    """Sums of the values that fall into the same slot, counted from `start`."""
    length = start + values.shape[-1]
    padded = values.new_zeros(*values.shape[:-1], -(-length // width) * width)
    padded[..., start:length] = values
    return padded.view(*values.shape[:-1], -1, width).sum(dim=-2)
