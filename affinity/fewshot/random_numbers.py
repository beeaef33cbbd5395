"""Random generators by purpose, so that all methods see the same tasks in the same order."""

import random

import torch


def generator_of(seed: int, purpose: str) -> torch.Generator:
    """A generator that depends only on the seed and the purpose."""
    return torch.Generator().manual_seed(random.Random(f"{seed} {purpose}").getrandbits(63))
