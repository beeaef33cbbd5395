"""Made-up transfers, whose gains are known."""

import torch

from affinity.transfer import Transfer
from affinity.transfer.transfer import TransferLosses


def made_up_transfer(noise: float = 0.01, n_replicates: int = 6, n_blocks: int = 1) -> Transfer:
    """Four sources gain from -0.3 to 0.3 on one target, the other way round on another."""
    generator = torch.Generator().manual_seed(0)
    gains = torch.linspace(-0.3, 0.3, 4, dtype=torch.double)
    table = torch.stack([gains, -gains], dim=1)  # source target
    shape = (4, n_replicates, 2)
    losses = (
        1 - table[:, None] + noise * torch.randn(shape, generator=generator, dtype=torch.double)
    )
    ones = torch.ones(1, n_replicates, 2, dtype=torch.double)
    return Transfer(
        problem="made up",
        sources=("depth", "edges", "normals", "own inputs"),
        targets=("key points", "shading"),
        recipe="full fine-tuning",
        tuned=_of(losses, n_blocks),
        scratch=_of(ones, n_blocks),
        is_measured=torch.ones(4, 2, dtype=torch.bool),
    )


def _of(losses: torch.Tensor, n_blocks: int) -> TransferLosses:
    return TransferLosses(losses, losses, losses[..., None].float().expand(*losses.shape, n_blocks))


def made_up_pair(test: list[float], evaluation: list[float]) -> Transfer:
    """One source, one target, one loss per replicate."""

    def scores(test: list[float], evaluation: list[float]) -> TransferLosses:
        one = torch.tensor(test, dtype=torch.double).reshape(1, -1, 1)
        return TransferLosses(
            one,
            torch.tensor(evaluation, dtype=torch.double).reshape(1, -1, 1),
            one[..., None].float(),
        )

    ones = [1.0] * len(test)
    return Transfer(
        "made up",
        ("depth",),
        ("edges",),
        "r",
        scores(test, evaluation),
        scores(ones, ones),
        torch.ones(1, 1, dtype=torch.bool),
    )
