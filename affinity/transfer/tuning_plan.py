"""Tuning plan: the phases in which the blocks of a network are fine-tuned; editable YAML."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from math import inf
from pathlib import Path
from typing import cast

import msgspec
import yaml

from affinity.errors import InputError, check_known, check_number
from affinity.files import read_text_file
from affinity.storage import to_jsonable

_EXPLANATION = """\
# How a network that starts from a source is fine-tuned. Edit it, then use it with --tuning-plan.
# learning_rate_scales: multiply the learning rate of a block; 0 freezes it, 1 is the full rate.
# epochs: the maximum of a phase; it stops early when the validation loss no longer decreases.
# by_gradient: blocks whose scale is multiplied by their relative gradient norm (largest: 1).
# fresh: blocks that are initialized at random instead of from the source.
# pull: strength of the penalty on the squared distance from the source (L2-SP).
"""


@dataclass(frozen=True)
class Phase:
    """One phase of fine-tuning.

    Args:
        learning_rate_scales: Factor on the learning rate of each block; 0 freezes the block.
        by_gradient: Blocks whose scale is multiplied by their `relative_gradient_norms`, divided
            by the largest of them.
    """

    name: str
    learning_rate_scales: Mapping[str, float]
    epochs: int
    by_gradient: tuple[str, ...] = ()


@dataclass(frozen=True)
class TuningPlan:
    """A recipe applied to the blocks of a network; can be edited before it is used.

    Args:
        phases: In order; each starts from the best state so far.
        fresh: Blocks that are initialized at random instead of from the source.
        pull: Strength of the penalty on the distance from the source.

    Raises:
        InputError: If there is no phase, phases name different blocks, all blocks of a phase are
            frozen, a scale or the pull is negative, or a phase has no epochs.

    Example:
        >>> plan = TuningPlan("mine", (Phase("all", {"trunk": 0.1, "head": 1.0}, epochs=5),))
        >>> TuningPlan.from_yaml(plan.to_yaml(), ["trunk", "head"]) == plan
        True
    """

    recipe: str
    phases: tuple[Phase, ...]
    fresh: tuple[str, ...] = ()
    pull: float = 0.0

    def __post_init__(self) -> None:
        if not self.phases:
            raise InputError(
                f"Expected at least one phase in the tuning plan {self.recipe!r}.", "no-phase"
            )
        check_number("pull", self.pull, "invalid-pull", least=0, below=inf)
        for phase in self.phases:
            scales = phase.learning_rate_scales
            if set(scales) != set(self.blocks):
                raise InputError(
                    f"Expected a scale for each of the blocks {list(self.blocks)} in every phase, "
                    f"but phase {phase.name!r} has {list(scales)}.",
                    "missing-block",
                )
            named = [*phase.by_gradient, *self.fresh]
            check_known("blocks of the network", named, self.blocks, "unknown-block")
            negative = {name: s for name, s in scales.items() if not 0 <= s < float("inf")}
            if negative or not any(scales.values()):
                raise InputError(
                    f"Expected finite scales of at least 0, not all of them 0, in phase "
                    f"{phase.name!r}, but got {negative or dict(scales)}.",
                    "invalid-scale",
                )
            check_number(f"epochs of phase {phase.name!r}", phase.epochs, "invalid-epochs", least=1)

    @property
    def blocks(self) -> tuple[str, ...]:
        """The blocks, from inputs to outputs."""
        return tuple(self.phases[0].learning_rate_scales)

    def check_blocks(self, blocks: Sequence[str]) -> None:
        """Check that the plan is for exactly these blocks.

        Raises:
            InputError: If it names other blocks, or omits one.
        """
        check_known("blocks of the network", self.blocks, blocks, "unknown-block")
        if missing := [name for name in blocks if name not in self.blocks]:
            raise InputError(
                f"Expected a learning-rate scale for every block, but {missing} are missing in the "
                f"tuning plan. The network has the blocks {list(blocks)}.",
                "missing-block",
            )

    def to_yaml(self) -> str:
        """The plan as YAML, with comments that explain the entries."""
        body = yaml.safe_dump(to_jsonable(self), sort_keys=False, allow_unicode=True)
        return _EXPLANATION + body

    @classmethod
    def from_yaml(cls, text: str, blocks: Sequence[str] | None = None) -> "TuningPlan":
        """Read an edited plan.

        Args:
            text: As written by `to_yaml`.
            blocks: The blocks of the network, if known.

        Raises:
            InputError: If it is not a valid plan; unknown entries and blocks are named.
        """
        try:
            body = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise InputError(f"Expected a tuning plan in YAML: {error}", "invalid-yaml") from error
        entries = {"recipe": "edited", "phases": []} | _checked_entries(body, cls)
        phases = entries["phases"]
        if isinstance(phases, list):
            entries["phases"] = [
                {"name": f"phase {number}"} | _checked_entries(phase, Phase)
                for number, phase in enumerate(cast("list[object]", phases), start=1)
            ]
        try:
            plan = msgspec.convert(entries, cls, strict=False)
        except msgspec.ValidationError as error:
            if isinstance(error.__cause__, InputError):
                raise error.__cause__ from None
            raise InputError(
                "Expected a tuning plan with phases like {epochs: 10, learning_rate_scales: "
                f"{{trunk: 0.1, heads: 1}}}}: {error}.",
                "invalid-tuning-plan",
            ) from error
        if blocks is not None:
            plan.check_blocks(blocks)
        return plan

    @classmethod
    def read(cls, path: str | Path, blocks: Sequence[str] | None = None) -> "TuningPlan":
        """Read a plan from a file.

        Raises:
            InputError: If the file cannot be read, or is not a valid plan.
        """
        return cls.from_yaml(read_text_file(path, "the tuning plan"), blocks)


def _checked_entries(body: object, cls: type) -> dict[str, object]:
    """The entries of a YAML mapping that are not empty; all must be fields of `cls`."""
    if not isinstance(body, dict):
        raise InputError(
            f"Expected a mapping of names to values in the tuning plan, but got {body!r}.",
            "invalid-tuning-plan",
        )
    entries = cast("dict[str, object]", body)
    known = [field.name for field in fields(cls)]
    check_known("entries of the tuning plan", entries, known, "unknown-entry")
    return {name: value for name, value in entries.items() if value is not None}
