"""Members of an ensemble: a set of tasks on a replicate, and the network that starts for it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch

from affinity.sharing import Sharing
from affinity.tasks import Task

Build = Callable[[tuple[Task, ...]], Sharing]
"""Makes a fresh network of these tasks, with random numbers from torch's global stream."""


@dataclass(frozen=True)
class Member:
    """One training: a network of these tasks on one of the replicates.

    Args:
        tasks: Names of the tasks it is trained on.
        replicate: Which of the replicates.
    """

    tasks: frozenset[str]
    replicate: int


def initial(build: Build, tasks: Iterable[Task], seed: int) -> Sharing:
    """The network that starts from `seed`: the same shared start for any set of tasks."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build(tuple(tasks))
