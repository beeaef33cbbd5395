"""The budget: how many networks, and at what total cost."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite
from numbers import Integral

from affinity.errors import InputError


@dataclass(frozen=True)
class Budget:
    """At most (or exactly) so many networks, of at most this cost in total.

    Args:
        networks: How many networks; any number without it.
        exactly: Whether it must be that many.
        cost: Largest sum of the networks' costs.
        cost_of: Cost of a network, from the tasks it trains; 1 without it. A table of group scores
            brings its own costs.

    Example:
        Standley et al. count a half-size single-task network as half a network:

        >>> Budget(cost=2.5, cost_of=lambda trained: 0.5 if len(trained) == 1 else 1.0).networks
    """

    networks: int | None = None
    exactly: bool = False
    cost: float | None = None
    cost_of: Callable[[frozenset[str]], float] | None = None

    def __post_init__(self) -> None:
        if self.networks is not None and not isinstance(self.networks, Integral):
            raise InputError(
                f"Expected a whole number of networks, but got {self.networks!r}. A limit on what "
                "they cost is Budget(cost=...)."
            )
        if self.networks is not None and self.networks < 1:
            raise InputError(f"Expected a budget of at least 1 network, but got {self.networks}.")
        if self.cost is not None and not (isfinite(self.cost) and self.cost > 0):
            raise InputError(f"Expected a finite cost above 0, but got {self.cost}.")
        if self.networks is None and self.cost is None:
            raise InputError("Expected a budget of networks or of cost, but got neither.")
        if self.exactly and self.networks is None:
            raise InputError("Expected how many networks with exactly=True, but got none.")

    def of(self, trained: frozenset[str]) -> float:
        """What a network trained on these tasks costs."""
        cost = 1.0 if self.cost_of is None else self.cost_of(trained)
        if not 0 <= cost < float("inf"):
            raise InputError(
                f"Expected a finite cost of at least 0 for the network of {sorted(trained)}, but "
                f"cost_of gives {cost}."
            )
        return cost

    def check(self, tasks: Sequence[str]) -> None:
        """Say where there are more networks than tasks: each has to serve one."""
        if self.networks is not None and self.networks > len(tasks):
            raise InputError(
                f"Expected a budget of at most {len(tasks)}, the number of tasks, but got "
                f"{self.networks} networks for {list(tasks)}."
            )

    def __str__(self) -> str:
        parts: list[str] = []
        if self.networks is not None:
            number = f"{self.networks} network{'s' * (self.networks != 1)}"
            parts.append(f"{'exactly' if self.exactly else 'at most'} {number}")
        if self.cost is not None:
            parts.append(f"a total cost of at most {self.cost:g}")
        return " and ".join(parts)
