"""The order of rows: one permutation a replicate and epoch, for everything that is compared."""

import torch
from jaxtyping import Int
from torch import Tensor


def ranks(count: int, seed: int, epoch: int) -> Int[Tensor, " row"]:
    """The place of each row in the order of this epoch.

    A network that learns from fewer rows sees them in the same order, the others left out.

    Example:
        >>> rank = ranks(4, seed=0, epoch=1)
        >>> sorted(rank.tolist())
        [0, 1, 2, 3]
    """
    generator = torch.Generator().manual_seed((seed * 1_000_003 + epoch) % 2**63)
    return torch.randperm(count, generator=generator)
