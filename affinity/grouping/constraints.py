"""Wishes: what a grouping must respect beside its budget."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from numbers import Integral

import networkx as nx

from affinity.errors import InputError


@dataclass(frozen=True)
class Constraints:
    """Which tasks must, must not or may share networks.

    Args:
        together: Sets of tasks that one network serves.
        apart: Sets of tasks of which no network trains two.
        fixed: Networks that already stand: each set is served by a network of its own, which may
            take in more tasks.
        helpers: Tasks that may be trained in networks that do not serve them, as well as in the
            one that does. With ``overlap=True`` all tasks may.
        largest: How many tasks a network trains at most.

    Example:
        >>> wishes = Constraints(together=[("depth", "normals")], largest=3)
        >>> wishes.units(["depth", "edges", "normals"])
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
                    f"Expected {name} to hold sets of tasks, as in [('a', 'b')], but got {sets!r}."
                )
            object.__setattr__(self, name, tuple(frozenset(tasks) for tasks in sets))
            if frozenset() in getattr(self, name):
                raise InputError(f"Expected {name} to hold sets of tasks, but one is empty.")
        if isinstance(self.helpers, str):
            raise InputError(f"Expected a set of helpers, but got {self.helpers!r}.")
        object.__setattr__(self, "helpers", frozenset(self.helpers))
        if self.largest is not None and (
            not isinstance(self.largest, Integral) or self.largest < 1
        ):
            raise InputError(
                f"Expected largest to be a whole number of at least 1 task, but got {self.largest}."
            )

    def check(self, tasks: Iterable[str]) -> None:
        """Say which wishes are about tasks that do not exist."""
        known = set(tasks)
        for name in ("together", "apart", "fixed", "helpers"):
            sets = getattr(self, name)
            named = set(sets) if name == "helpers" else {task for each in sets for task in each}
            if unknown := sorted(named - known):
                raise InputError(
                    f"Expected wishes about the tasks {sorted(known)}, but {name} names {unknown}."
                )

    def units(self, tasks: Iterable[str]) -> tuple[tuple[str, ...], ...]:
        """The tasks in sets that are served together, in the order of their names."""
        graph: nx.Graph[str] = nx.Graph()
        graph.add_nodes_from(tasks)
        for each in (*self.together, *self.fixed):
            nx.add_path(graph, sorted(each))
        return tuple(sorted(tuple(sorted(unit)) for unit in nx.connected_components(graph)))

    def pairs_apart(self) -> Iterator[tuple[str, str]]:
        """Every two tasks that no network may train both."""
        for each in self.apart:
            for task in each:
                for other in each:
                    if task < other:
                        yield task, other

    def one_by_one(self) -> Iterator[tuple[str, "Constraints"]]:
        """Each wish in words, with these wishes without it."""
        for name in ("together", "apart", "fixed"):
            sets = getattr(self, name)
            for index, each in enumerate(sets):
                rest = sets[:index] + sets[index + 1 :]
                yield f"{name} {sorted(each)}", replace(self, **{name: rest})
        if self.largest is not None:
            yield f"networks of at most {self.largest} tasks", replace(self, largest=None)
