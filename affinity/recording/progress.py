"""What a recorder takes along from one measurement to the next, and through a resume."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

Method = str
"""How sketches are made: by ``"double backward"`` or ``"forward mode"``; ``"none"``: not at all."""


@dataclass
class Progress:
    """How far a recorder is.

    Args:
        generator: Draws the directions of sketches.
        sketch_method: The first method that the run's graphs allowed.
        first_source: Whose turn it is, where sources are visited in turn.
        begun: How many measurements were begun since one was finished: more than none while the
            next micro-batch is waited for.
        base_is_given: Whether the closure gives, bit for bit, the losses that it is given with:
            then they need not be evaluated again.
        has_factors: Whether gradients in factors were cheaper, when they were last looked for.
    """

    generator: torch.Generator = field(default_factory=torch.Generator)
    sketch_method: Method = "double backward"
    first_source: int = 0
    begun: int = 0
    base_is_given: bool = False
    has_factors: bool = True

    def visit(self, tasks: tuple[str, ...], count: int) -> tuple[str, ...]:
        """The next `count` sources.

        Example:
            >>> progress = Progress()
            >>> progress.visit(("a", "b", "c"), 2), progress.visit(("a", "b", "c"), 2)
            (('a', 'b'), ('c', 'a'))
        """
        if count >= len(tasks):
            return tasks
        visited = (tasks * 2)[self.first_source : self.first_source + count]
        self.first_source = (self.first_source + count) % len(tasks)
        return visited

    def state_dict(self) -> dict[str, Any]:
        """All but the generator's state, as JSON can hold it."""
        return {
            "first_source": self.first_source,
            "sketch_method": self.sketch_method,
            "begun": self.begun,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self.first_source = state["first_source"]
        self.sketch_method = state["sketch_method"]
        self.begun = state["begun"]
