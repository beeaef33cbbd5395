"""Grouping: networks that together serve every task exactly once."""

from collections import Counter
from dataclasses import dataclass, field

from affinity import markup
from affinity.errors import InputError
from affinity.words import count


@dataclass(frozen=True)
class Network:
    """Tasks that are trained together, and those among them that the network serves.

    A task that is trained but not served only helps the others.

    Args:
        trained: Every task that adds to the loss.
        served: The tasks whose predictions are used.
        variant: Distinguishes networks of the same tasks, such as "half-size".

    Example:
        >>> Network.of("depth", "edges").is_alone
        False
    """

    trained: frozenset[str]
    served: frozenset[str]
    variant: str | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if not self.served:
            raise InputError(
                f"Expected a network to serve a task, but {set(self.trained)} do not.",
                "no-served-task",
            )
        if not self.served <= self.trained:
            raise InputError(
                f"Expected a network to train what it serves, but it serves "
                f"{sorted(self.served - self.trained)} without training them.",
                "untrained-task",
            )

    @classmethod
    def of(cls, *tasks: str) -> "Network":
        """A network that serves every task it is trained on."""
        return cls(trained=frozenset(tasks), served=frozenset(tasks))

    @property
    def is_alone(self) -> bool:
        """Whether the network is trained on a single task."""
        return len(self.trained) == 1


@dataclass(frozen=True)
class Grouping(markup.ShownAsTable):
    """Networks that serve every task exactly once.

    Args:
        networks: The networks; a task may be trained in several.
        score: Sum over the tasks of the score of the task in the network that serves it.
        bound: An upper bound on the score of every grouping within the budget and constraints.
        solver: The solver that found it.
        seconds: The solver's time.
        cost: Sum of the networks' costs, where the budget limits it.

    Example:
        >>> grouping = Grouping((Network.of("depth", "edges"), Network.of("keypoints")))
        >>> grouping.network_of("edges") == grouping.network_of("depth")
        True
    """

    networks: tuple[Network, ...]
    score: float | None = None
    bound: float | None = None
    solver: str | None = None
    seconds: float | None = None
    cost: float | None = None

    def __post_init__(self) -> None:
        served = Counter(task for network in self.networks for task in network.served)
        twice = sorted(task for task, count in served.items() if count > 1)
        if twice:
            raise InputError(
                f"Expected every task to be served once, but {twice} are served twice.",
                "served-twice",
            )
        trained = {task for network in self.networks for task in network.trained}
        if trained - set(served):
            raise InputError(
                f"Expected every task to be served, but {sorted(trained - set(served))} are only "
                "trained.",
                "unserved-task",
            )

    def as_table(self) -> markup.ResultTable:
        """One row per network."""
        caption = f"{count(len(self.networks), 'network')} for {count(len(self.tasks), 'task')}"
        if self.score is not None:
            certificate = "proven best" if self.is_optimal else "not proven best"
            caption += f", score {self.score:.4g} ({certificate})"
        return markup.ResultTable(
            ["network", "serves", "also trains"],
            [
                [
                    str(number),
                    ", ".join(sorted(network.served)),
                    ", ".join(sorted(network.trained - network.served)),
                ]
                for number, network in enumerate(self.networks, start=1)
            ],
            caption,
        )

    @property
    def tasks(self) -> frozenset[str]:
        """Every task served."""
        return frozenset(task for network in self.networks for task in network.served)

    @property
    def gap(self) -> float | None:
        """Bound minus score: the maximum that a longer search could gain."""
        if self.score is None or self.bound is None:
            return None
        return max(0.0, self.bound - self.score)

    @property
    def is_optimal(self) -> bool:
        """Whether no grouping within the budget can score higher, up to rounding."""
        if self.gap is None or self.score is None or self.bound is None:
            return False
        return self.gap <= 1e-9 * max(abs(self.score), abs(self.bound))

    def network_of(self, task: str) -> Network:
        """The network that serves `task`."""
        for network in self.networks:
            if task in network.served:
                return network
        raise InputError(
            f"Expected one of the tasks {sorted(self.tasks)}, but got {task!r}.", "unknown-task"
        )
