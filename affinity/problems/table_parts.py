"""Trunk and heads of a table, at any width; values, so that they can be sent to processes."""

from dataclasses import dataclass

from affinity.sharing import Perceptron

from .problem import Parts, linear_heads


@dataclass(frozen=True)
class TableTrunk:
    """Makes the trunk of a table."""

    n_features: int
    width: int
    depth: int

    def __call__(self) -> Perceptron:
        """A fresh trunk."""
        return Perceptron(self.n_features, width=self.width, depth=self.depth)


@dataclass(frozen=True)
class TableParts:
    """Makes what makes trunk and heads of a width."""

    n_features: int
    depth: int

    def __call__(self, width: int) -> Parts:
        """A perceptron of this width, and linear heads on it."""
        return TableTrunk(self.n_features, width, self.depth), linear_heads(width)
