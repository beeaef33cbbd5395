"""A tuning plan: in which phases the blocks of a network are tuned, at which rates; as YAML."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import yaml

from affinity.errors import InputError

_EXPLAINED = """\
# How a network that starts from a source is tuned. Edit it, then pass it with --tuning-plan.
# learning_rate_scales multiply the learning rate of a block: 0 freezes it, 1 is the full rate.
# epochs: of a phase, at most; it ends earlier where the validation loss no longer falls.
# by_gradient: blocks whose scale is multiplied by their relative gradient norm (largest: 1).
# fresh: blocks that do not start from the source; pull: strength of the drawing to the source.
"""


@dataclass(frozen=True)
class Phase:
    """A part of a tuning.

    Args:
        name: What it is called.
        scales: Of the learning rate of each block; 0 freezes it.
        epochs: At most.
        by_gradient: Blocks whose scale is multiplied by their `relative_gradient_norms`, over the
            largest of them.
    """

    name: str
    scales: Mapping[str, float]
    epochs: int
    by_gradient: tuple[str, ...] = ()


@dataclass(frozen=True)
class TuningPlan:
    """What a recipe makes of the blocks of a network; a person may edit it before it runs.

    Args:
        recipe: Where it comes from.
        phases: In order; each starts from the best state so far.
        fresh: Blocks that start afresh, rather than from the source.
        pull: How strongly the blocks that come from the source are drawn back to it.

    Raises:
        InputError: If there is no phase, phases name other blocks, all blocks are frozen in one, a
            scale or the pull is negative, or a phase has no epoch.

    Example:
        >>> plan = TuningPlan("mine", (Phase("all", {"trunk": 0.1, "head": 1.0}, epochs=5),))
        >>> TuningPlan.from_yaml(plan.to_yaml(), ["trunk", "head"]) == plan
        True
    """

    recipe: str
    phases: tuple[Phase, ...]
    fresh: tuple[str, ...] = field(default=())
    pull: float = 0.0

    def __post_init__(self) -> None:
        if not self.phases:
            raise InputError(f"Expected at least one phase in the tuning plan {self.recipe!r}.")
        if not 0 <= self.pull < float("inf"):
            raise InputError(f"Expected a finite pull of at least 0, but got {self.pull}.")
        for phase in self.phases:
            if set(phase.scales) != set(self.blocks):
                raise InputError(
                    f"Expected a scale for each of the blocks {list(self.blocks)} in every phase, "
                    f"but phase {phase.name!r} names {list(phase.scales)}."
                )
            self._check_known([*phase.by_gradient, *self.fresh], self.blocks)
            wrong = {name: s for name, s in phase.scales.items() if not 0 <= s < float("inf")}
            if wrong or not any(phase.scales.values()):
                raise InputError(
                    f"Expected scales of at least 0, and a block that moves, in phase "
                    f"{phase.name!r}, but got {wrong or dict(phase.scales)}."
                )
            if phase.epochs < 1:
                raise InputError(
                    f"Expected at least one epoch in phase {phase.name!r}, but got {phase.epochs}."
                )

    @property
    def blocks(self) -> tuple[str, ...]:
        """The blocks, from inputs to outputs."""
        return tuple(self.phases[0].scales)

    def check_blocks(self, blocks: Sequence[str]) -> None:
        """Whether this is a plan for these blocks.

        Raises:
            InputError: If it names others, or leaves one out.
        """
        self._check_known(self.blocks, blocks)
        if missing := [name for name in blocks if name not in self.blocks]:
            raise InputError(
                f"Expected the tuning plan to give a scale to every block, but {missing} are "
                f"missing. The network has the blocks {list(blocks)}."
            )

    def to_yaml(self) -> str:
        """The plan, with a word on what can be edited."""
        body = {
            "recipe": self.recipe,
            "fresh": list(self.fresh),
            "pull": self.pull,
            "phases": [
                {
                    "name": phase.name,
                    "epochs": phase.epochs,
                    "learning_rate_scales": {k: float(v) for k, v in phase.scales.items()},
                    **({"by_gradient": list(phase.by_gradient)} if phase.by_gradient else {}),
                }
                for phase in self.phases
            ],
        }
        return _EXPLAINED + yaml.safe_dump(body, sort_keys=False, allow_unicode=True)

    @classmethod
    def from_yaml(cls, text: str, blocks: Sequence[str] | None = None) -> "TuningPlan":
        """Read an edited plan.

        Args:
            text: As `to_yaml` writes it.
            blocks: Of the network that it is for, where they are known.

        Raises:
            InputError: If it is no such plan; unknown entries and blocks are named.
        """
        try:
            body = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise InputError(f"Expected a tuning plan in YAML: {error}") from error
        entries = _entries(body, "the tuning plan", {"recipe", "fresh", "pull", "phases"})
        phases: list[Phase] = []
        for each in entries.get("phases") or []:
            known = {"name", "epochs", "learning_rate_scales", "by_gradient"}
            phase = _entries(each, "a phase", known)
            try:
                scales = dict(phase["learning_rate_scales"])
                phases.append(
                    Phase(
                        name=str(phase.get("name", f"phase {len(phases) + 1}")),
                        scales={str(name): float(scale) for name, scale in scales.items()},
                        epochs=int(phase["epochs"]),
                        by_gradient=tuple(map(str, phase.get("by_gradient") or ())),
                    )
                )
            except (KeyError, TypeError, ValueError) as error:
                raise InputError(
                    "Expected a phase of the tuning plan to have a whole number of epochs and "
                    f"learning_rate_scales like {{trunk: 0.1, heads: 1}}, but got {phase}."
                ) from error
        fresh = tuple(map(str, entries.get("fresh") or ()))
        if blocks is not None:
            for phase in phases:
                cls._check_known([*phase.scales, *phase.by_gradient, *fresh], blocks)
        try:
            pull = float(entries.get("pull", 0.0))
        except (TypeError, ValueError) as error:
            raise InputError(
                f"Expected a number for the pull of the tuning plan, but got {entries['pull']!r}."
            ) from error
        plan = cls(str(entries.get("recipe", "edited")), tuple(phases), fresh, pull)
        if blocks is not None:
            plan.check_blocks(blocks)
        return plan

    @classmethod
    def read(cls, path: str | Path, blocks: Sequence[str] | None = None) -> "TuningPlan":
        """The plan in a file.

        Raises:
            InputError: If it cannot be read, or is no such plan.
        """
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"Could not read the tuning plan {str(path)!r}: {error}.") from error
        return cls.from_yaml(text, blocks)

    @staticmethod
    def _check_known(named: Sequence[str], blocks: Sequence[str]) -> None:
        if unknown := [name for name in named if name not in blocks]:
            raise InputError(
                f"Expected blocks of the network, but there are none called {unknown}. It has "
                f"{list(blocks)}."
            )


def _entries(body: Any, what: str, known: set[str]) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise InputError(f"Expected {what} to hold entries by name, but got {body!r}.")
    entries = cast("dict[str, Any]", body)
    if unknown := [key for key in entries if key not in known]:
        raise InputError(f"Unknown entries {unknown} in {what}; there are {sorted(known)}.")
    return entries
