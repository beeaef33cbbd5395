"""Random generators by purpose, so that all methods see the same tasks in the same order."""

import random

import torch


def generator_of(seed: int, purpose: str) -> torch.Generator:
    """A generator that depends only on the seed and the purpose.

    Example:
        >>> a, b = (generator_of(0, purpose) for purpose in ("training", "test"))
        >>> a.initial_seed() == generator_of(0, "training").initial_seed() != b.initial_seed()
        True
    """
    return torch.Generator().manual_seed(random.Random(f"{seed} {purpose}").getrandbits(63))
