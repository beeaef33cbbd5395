"""Settings of a measurement: where gradients are taken, what is exact, and how much is stored."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from affinity.errors import InputError, check_choice, check_number, check_whole_number

Level = Literal["parameters", "last layer", "representation"]
StepKind = Literal["gradient", "optimizer"]
HeldOut = Literal["micro-batch"] | None
FEW_TASKS = 12  # up to this many, measurements are exact; above, sketches are cheaper
DIRECTIONS = 8  # random directions of a sketch, and sources of a lookahead among many tasks


@dataclass(frozen=True)
class Settings:
    """The arguments of `Recorder` that concern a single measurement; they are explained there."""

    level: Level = "parameters"
    layers: int | Sequence[str] | None = None
    lookahead_every: int = 10
    step: StepKind = "gradient"
    learning_rate: float | None = None
    sources: int | None = None
    sketch: int | Literal["auto"] = "auto"
    memory: int = 10**9
    gramians: bool = True
    held_out: HeldOut = None

    def __post_init__(self) -> None:
        is_exact = self.layers is not None or self.level == "representation"
        at_representation = self.level == "representation"
        for name, allowed in (("level", get_args(Level)), ("step", get_args(StepKind))):
            check_choice(name, getattr(self, name), allowed, "unknown-choice")
        check_choice("held_out", self.held_out, (None, "micro-batch"), "unknown-choice")
        check_whole_number("lookahead_every", self.lookahead_every, 1, "out-of-range")
        for name in ("sources", "layers"):
            if isinstance(value := getattr(self, name), int | float):
                check_whole_number(name, value, 1, "out-of-range")
        check_number("memory", self.memory, least=1)
        check_number("learning_rate", self.learning_rate, above=0)
        if self.sketch != "auto":
            check_whole_number("sketch", self.sketch, 0, "out-of-range")
        conflicts = {
            "a sketch together with layers or the representation, whose Gramians are exact": (
                self.sketch not in {"auto", 0} and is_exact
            ),
            "layers of the representation, which has none": (
                self.layers is not None and at_representation
            ),
            "a held-out micro-batch at the representation, since the representations of two "
            "batches cannot be compared": self.held_out is not None and at_representation,
            "layers or the representation without Gramians": not self.gramians and is_exact,
        }
        for conflict, is_given in conflicts.items():
            if is_given:
                raise InputError(
                    f"Expected settings that fit together, but got {conflict}.",
                    "conflicting-settings",
                )

    def directions(self, n_tasks: int) -> int:
        """Random directions of the Gramian's sketch; 0 where it is exact."""
        if self.layers is not None or self.level == "representation" or not self.gramians:
            return 0
        if self.sketch == "auto":
            return DIRECTIONS if n_tasks > FEW_TASKS and self.sources is None else 0
        return self.sketch

    def lookahead_sources(self, n_tasks: int) -> int:
        """Number of sources that a lookahead visits."""
        if self.sources is not None:
            return min(self.sources, n_tasks)
        return DIRECTIONS if n_tasks > FEW_TASKS and self.sketch != 0 else n_tasks

    def looks_ahead(self, number: int) -> bool:
        """Whether the measurement with this number looks ahead, if it has a closure."""
        return self.level != "representation" and (
            not self.gramians or number % self.lookahead_every == 0
        )
