"""Members of an ensemble: a set of tasks on a replicate, and the network that starts for it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch

from affinity.errors import InputError, check_number
from affinity.sharing import Sharing
from affinity.tasks import Replicate, Task

from .device import use_seed
from .initialization import Initialization
from .rows import columns_of

Build = Callable[[tuple[Task, ...]], Sharing]
"""Makes a fresh network of these tasks, with random numbers from torch's global stream."""


@dataclass(frozen=True)
class Member:
    """One training: a network of these tasks on one of the replicates."""

    tasks: frozenset[str]
    replicate: int


def initial(build: Build, tasks: Iterable[Task], seed: int) -> Sharing:
    """The network that starts from `seed`, on the CPU: the same shared start for any tasks."""
    with use_seed():
        torch.default_generator.manual_seed(seed)  # `torch.manual_seed` takes milliseconds
        return build(tuple(tasks)).cpu()


def start_all(
    build: Build | Sequence[Build],
    tasks: Sequence[Task],
    members: Sequence[Member],
    replicates: Sequence[Replicate],
    starts: Sequence[Initialization] | None = None,
) -> list[Sharing]:
    """The network that each member starts from."""
    networks: list[Sharing] = []
    for number, member in enumerate(members):
        if not member.tasks:
            raise InputError(
                "Expected at least one task in every network, but got an empty one.",
                "empty-network",
            )
        columns_of(sorted(member.tasks), tasks)
        name, end = f"the replicate of the network of {sorted(member.tasks)}", len(replicates)
        check_number(name, member.replicate, "unknown-replicate", least=0, below=end)
        trained = [task for task in tasks if task.name in member.tasks]
        make = build if callable(build) else build[number]
        networks.append(initial(make, trained, replicates[member.replicate].seed))
        if starts is not None:
            starts[number].put_into(networks[-1])
    return networks
