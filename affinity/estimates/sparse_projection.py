"""Sparse projection: the sum of a gradient's numbers with random signs, in random buckets."""

import hashlib
from collections.abc import Mapping

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
    :math:`1 / \sqrt{d}`, and the columns of P are orthogonal. With as many
    dimensions as parameters, nothing is lost. The same seed gives the same projection in every
    process.

    Args:
        parameters: By name; only names and shapes matter.
        dimensions: d; None, or at least the number of parameters, keeps all of them.
        seed: Random seed.

    References:
        Charikar, Chen and Farach-Colton (2002), Finding Frequent Items in Data Streams.

    Example:
        >>> projection = SparseProjection({"w": torch.zeros(30, 20)}, 8)
        >>> projection([torch.ones(30, 20)]).shape
        torch.Size([8])
    """

    def __init__(
        self, parameters: Mapping[str, Tensor], dimensions: int | None, seed: int = 0
    ) -> None:
        self.n_parameters = sum(value.numel() for value in parameters.values())
        self.dimensions = min(dimensions or self.n_parameters, self.n_parameters)
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

    def __call__(self, gradient: list[Tensor]) -> Float[Tensor, " dimension"]:
        """The projection of a gradient, given by parameter, on the CPU."""
        flat = [
            part.detach().flatten().to(torch.promote_types(part.dtype, torch.float32))
            for part in gradient
        ]
        if not self._signs:
            return torch.cat([part.cpu().double() for part in flat])
        slots = torch.zeros(len(self._order)).double()
        start = 0
        for part, signs in zip(flat, self._signs, strict=True):
            slots += _fold(part * signs, start, len(slots)).cpu()
            start = (start + len(part)) % len(slots)
        return slots[self._order].view(-1, self.dimensions).sum(dim=0)


def _fold(values: Tensor, start: int, width: int) -> Float[Tensor, " slot"]:
    """Sums of the values that fall into the same slot, counted from `start`."""
    length = start + len(values)
    padded = values.new_zeros(-(-length // width) * width)
    padded[start:length] = values
    return padded.view(-1, width).sum(dim=0)
