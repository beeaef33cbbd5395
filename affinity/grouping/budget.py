"""Budget: the maximum number of networks, and their maximum total cost."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from numbers import Integral

from affinity.errors import InputError, check_number


@dataclass(frozen=True)
class Budget:
    """A limit on the number of networks, on their total cost, or on both.

    Args:
        networks: The maximum number of networks; unlimited if None.
        exactly: Whether exactly that number must be used.
        cost: The maximum sum of the networks' costs; unlimited if None.
        cost_of: The cost of a network as a function of the tasks it trains; 1 if None. A table of
            group scores has its own costs.

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
                "they cost is Budget(cost=...).",
                "invalid-budget",
            )
        check_number("the budget of networks", self.networks, "budget-too-small", least=1)
        check_number("the budget of cost", self.cost, "invalid-budget", above=0, below=inf)
        if self.networks is None and self.cost is None:
            raise InputError(
                "Expected a budget of networks or of cost, but got neither.", "invalid-budget"
            )
        if self.exactly and self.networks is None:
            raise InputError(
                "Expected a number of networks with exactly=True, but got none.", "invalid-budget"
            )

    def of(self, trained: frozenset[str]) -> float:
        """The cost of a network trained on these tasks."""
        cost = 1.0 if self.cost_of is None else self.cost_of(trained)
        check_number(f"cost_of({sorted(trained)})", cost, "invalid-cost", least=0, below=inf)
        return cost

    def check(self, tasks: Sequence[str]) -> None:
        """Refuse more networks than tasks: each has to serve one."""
        check_number("the budget of networks", self.networks, "budget-too-large", most=len(tasks))

    def __str__(self) -> str:
        parts: list[str] = []
        if self.networks is not None:
            number = f"{self.networks} network{'s' * (self.networks != 1)}"
            parts.append(f"{'exactly' if self.exactly else 'at most'} {number}")
        if self.cost is not None:
            parts.append(f"a total cost of at most {self.cost:g}")
        return " and ".join(parts)
