"""How a recorder measures: where gradients are taken, what is exact, and how much is held."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from affinity.errors import InputError

Level = Literal["parameters", "last layer", "representation"]
StepKind = Literal["gradient", "optimizer"]
HeldOut = Literal["micro-batch"] | None

FEW_TASKS = 12
"""Up to so many tasks a measurement is exact; above, a sketch is cheaper."""

DIRECTIONS = 8
"""Random directions of a sketch, and sources that a lookahead visits among many tasks."""


@dataclass(frozen=True)
class Settings:
    """What `Recorder` takes and explains, as far as it concerns a single measurement.

    Raises:
        InputError: If a value is out of its range, or two exclude each other.
    """

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
        for name, kind in {"level": Level, "step": StepKind}.items():
            chosen = getattr(self, name)
            if chosen not in get_args(kind):
                raise InputError(f"Expected {name} to be one of {get_args(kind)}, not {chosen!r}.")
        if self.held_out not in {None, "micro-batch"}:
            raise InputError(
                f'Expected held_out to be "micro-batch" or None, but got {self.held_out!r}.'
            )
        for name in ("lookahead_every", "sources", "memory", "layers"):
            value = getattr(self, name)
            if isinstance(value, int) and value < 1:
                raise InputError(f"Expected {name} to be at least 1, but got {value}.")
        if self.learning_rate is not None and self.learning_rate <= 0:
            raise InputError(f"Expected a learning rate above 0, but got {self.learning_rate}.")
        if self.sketch != "auto" and self.sketch < 0:
            raise InputError(f"Expected 0 or more directions of a sketch, but got {self.sketch}.")
        is_exact = self.layers is not None or self.level == "representation"
        if self.sketch not in {"auto", 0} and is_exact:
            raise InputError(
                "Expected a sketch of all shared parameters, but layers or the representation were "
                "asked for too, which are exact: pass sketch=0."
            )
        if self.layers is not None and self.level == "representation":
            raise InputError("Expected layers of parameters, but the representation has none.")
        if self.held_out is not None and self.level == "representation":
            raise InputError(
                "Expected gradients on parameters to hold out a micro-batch, but representations "
                "of two batches have nothing in common: leave out level or held_out."
            )
        if not self.gramians and is_exact:
            raise InputError(
                "Expected Gramians of layers or the representation, but gramians=False leaves "
                "nothing of them: leave it out."
            )

    def directions(self, n_tasks: int) -> int:
        """Random directions of the Gramian's sketch; 0 where it is exact."""
        if self.layers is not None or self.level == "representation" or not self.gramians:
            return 0
        if self.sketch == "auto":
            return DIRECTIONS if n_tasks > FEW_TASKS and self.sources is None else 0
        return self.sketch

    def lookahead_sources(self, n_tasks: int) -> int:
        """How many sources a lookahead visits."""
        if self.sources is not None:
            return min(self.sources, n_tasks)
        return DIRECTIONS if n_tasks > FEW_TASKS and self.sketch != 0 else n_tasks

    def looks_at(self, number: int) -> bool:
        """Whether the measurement of this number looks ahead."""
        return self.level != "representation" and (
            not self.gramians or number % self.lookahead_every == 0
        )
