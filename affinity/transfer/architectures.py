"""Architectures: the width, depth and kind of the trunk that is transferred."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from affinity.errors import InputError, check_number
from affinity.problems import Problem
from affinity.problems.problem import TableParts
from affinity.sharing import find_trunk


@dataclass(frozen=True)
class Architecture:
    """The shape of a trunk.

    Args:
        width: Outputs of each layer.
        depth: Number of layers.
        kind: What `affinity.sharing.find_trunk` finds.

    Raises:
        InputError: If a number is below 1, or the kind is unknown.

    Example:
        >>> Architecture.parse("residual:64x3")
        Architecture(width=64, depth=3, kind='residual')
        >>> str(Architecture(64, 2)), str(Architecture(64, 3, "residual"))
        ('64x2', 'residual:64x3')
    """

    width: int
    depth: int
    kind: str = "mlp"

    def __post_init__(self) -> None:
        for name in ("width", "depth"):
            check_number(name, getattr(self, name), "invalid-architecture", least=1)
        find_trunk(self.kind)

    @classmethod
    def parse(cls, text: str) -> "Architecture":
        """Read WIDTHxDEPTH or KIND:WIDTHxDEPTH.

        Raises:
            InputError: If the text is not of this form.
        """
        parts = re.fullmatch(r"(?:([\w.:-]+):)?(\d+)x(\d+)", text.strip())
        if parts is None:
            raise InputError(
                "Expected an architecture as WIDTHxDEPTH or KIND:WIDTHxDEPTH, such as 64x2 or "
                f"residual:64x3, but got {text!r}.",
                "invalid-architecture",
            )
        kind, width, depth = parts.groups()
        return cls(int(width), int(depth), kind or "mlp")

    @classmethod
    def of(cls, problem: Problem) -> "Architecture | None":
        """The architecture of a problem's trunk; None if it is of another kind."""
        if not isinstance(problem.parts, TableParts) or problem.width is None:
            return None
        return cls(problem.width, problem.parts.depth, problem.parts.kind)

    def apply(self, problem: Problem) -> Problem:
        """The same problem with such trunks.

        Raises:
            InputError: If the problem's trunk is not made by size.
        """
        if not isinstance(problem.parts, TableParts):
            raise InputError(
                f"Expected a problem with the trunk of a table, but {problem.name!r} has its own. "
                "Measure transfer for each of your architectures, and pass the results to "
                "choose_recipe.",
                "fixed-architecture",
            )
        return problem.of_width(self.width).with_trunk(self.kind, self.depth)

    def __str__(self) -> str:
        prefix = "" if self.kind == "mlp" else f"{self.kind}:"
        return f"{prefix}{self.width}x{self.depth}"


def with_architectures(problem: Problem, architectures: Iterable[str]) -> dict[str, Problem]:
    """The problem with its own trunk (named "") and with each other architecture, by name.

    Example:
        >>> from affinity.problems import load_digits
        >>> problem = load_digits(width=32, depth=2)
        >>> list(with_architectures(problem, ["32x2", "16x1"]))
        ['', '16x1']
    """
    problems = {"": problem}
    for architecture in map(Architecture.parse, architectures):
        if architecture != Architecture.of(problem):
            problems[str(architecture)] = architecture.apply(problem)
    return problems
