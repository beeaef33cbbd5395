"""Which of many trainings are finished, with a store behind them where there is one."""

from collections.abc import Sequence
from dataclasses import replace

from affinity.sharing import Sharing
from affinity.tasks import Replicate, Task

from .initialization import Initialization
from .members import Member
from .settings import TrainingSettings
from .store import Store
from .trained_network import TrainedNetwork


class Finished:
    """Results by number of the member; those in the store are there from the start.

    Args:
        store: Where finished trainings are kept; None keeps them here alone.
        networks: What each member starts from.
        tasks: All tasks.
        members: What is trained.
        replicates: What members refer to.
        settings: How to train.
        starts: What the networks started from, where they go on from something.
    """

    def __init__(
        self,
        store: Store | None,
        networks: Sequence[Sharing],
        tasks: Sequence[Task],
        members: Sequence[Member],
        replicates: Sequence[Replicate],
        settings: TrainingSettings,
        starts: Sequence[Initialization] | None = None,
    ) -> None:
        self._store = store
        self._count = len(members)
        self.results: dict[int, TrainedNetwork] = {}
        self.keys: list[str] = []
        if store is None:
            return
        for number, (network, member) in enumerate(zip(networks, members, strict=True)):
            start = None if starts is None else starts[number]
            key = store.key(network, tasks, replicates[member.replicate], settings, start)
            self.keys.append(key)
            found = store.get(key)
            if found is not None:
                self.results[number] = replace(found, replicate=member.replicate)

    @property
    def missing(self) -> list[int]:
        """The members that are not finished."""
        return [number for number in range(self._count) if number not in self.results]

    def add(self, number: int, result: TrainedNetwork) -> None:
        """Take in a finished training."""
        self.results[number] = result
        if self._store is not None:
            self._store.put(self.keys[number], result)
