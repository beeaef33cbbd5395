"""Constraints: what a grouping must respect in addition to its budget."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import combinations
from numbers import Integral

from affinity.errors import InputError, check_known


@dataclass(frozen=True)
class Constraints:
    """Which tasks must, must not or may share networks.

    Args:
        together: Sets of tasks that one network must serve.
        apart: Sets of tasks of which no network may train two.
        fixed: Networks that already exist: each set is served by a network of its own, which may
            serve further tasks.
        helpers: Tasks that may also be trained in networks that do not serve them. With
            ``overlap=True`` all tasks may.
        largest: The maximum number of tasks of a network.

    Example:
        >>> constraints = Constraints(together=[("depth", "normals")], largest=3)
        >>> constraints.units(["depth", "edges", "normals"])
        (('depth', 'normals'), ('edges',))
    """

    together: Iterable[Iterable[str]] = ()
    apart: Iterable[Iterable[str]] = ()
    fixed: Iterable[Iterable[str]] = ()
    helpers: Iterable[str] = field(default=())
    largest: int | None = None

    def __post_init__(self) -> None:
        for name in ("together", "apart", "fixed"):
            sets = getattr(self, name)
            if isinstance(sets, str) or any(isinstance(tasks, str) for tasks in sets):
                raise InputError(
                    f"Expected {name} to hold sets of tasks, as in [('a', 'b')], but got {sets!r}.",
                    "invalid-constraint",
                )
            object.__setattr__(self, name, tuple(frozenset(tasks) for tasks in sets))
            if frozenset() in getattr(self, name):
                raise InputError(
                    f"Expected {name} to hold sets of tasks, but one is empty.",
                    "invalid-constraint",
                )
        if isinstance(self.helpers, str):
            raise InputError(
                f"Expected a set of helpers, but got {self.helpers!r}.", "invalid-constraint"
            )
        object.__setattr__(self, "helpers", frozenset(self.helpers))
        if self.largest is not None and (
            not isinstance(self.largest, Integral) or self.largest < 1
        ):
            raise InputError(
                "Expected largest to be a whole number of at least 1 task, but got "
                f"{self.largest}.",
                "invalid-constraint",
            )

    def check(self, tasks: Iterable[str]) -> None:
        """Refuse constraints on tasks that do not exist."""
        known = set(tasks)
        for name in ("together", "apart", "fixed", "helpers"):
            sets = getattr(self, name)
            named = set(sets) if name == "helpers" else {task for tasks in sets for task in tasks}
            check_known(f"tasks of {name}", sorted(named), sorted(known), "unknown-task")

    def units(self, tasks: Iterable[str]) -> tuple[tuple[str, ...], ...]:
        """The tasks in sets that are served together, in the order of their names."""
        import networkx as nx

        graph: nx.Graph[str] = nx.Graph()
        graph.add_nodes_from(tasks)
        for served in (*self.together, *self.fixed):
            nx.add_path(graph, sorted(served))
        return tuple(sorted(tuple(sorted(unit)) for unit in nx.connected_components(graph)))

    def pairs_apart(self) -> Iterator[tuple[str, str]]:
        """Every pair of tasks that no network may both train."""
        for tasks in self.apart:
            yield from combinations(sorted(tasks), 2)

    def one_by_one(self) -> Iterator[tuple[str, "Constraints"]]:
        """Each constraint in words, with the constraints without it."""
        for name in ("together", "apart", "fixed"):
            sets = getattr(self, name)
            for index, tasks in enumerate(sets):
                rest = sets[:index] + sets[index + 1 :]
                yield f"{name} {sorted(tasks)}", replace(self, **{name: rest})
        if self.largest is not None:
            yield f"networks of at most {self.largest} tasks", replace(self, largest=None)
