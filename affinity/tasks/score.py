"""Score: the direction of a task's score, how two scores are compared, and which gain matters."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import inf
from typing import Literal, TypeVar, cast, get_args

import numpy as np
from torch import Tensor

from affinity.errors import check_choice, check_number

Direction = Literal["maximize", "minimize"]
MATTERS = 0.01  # the gain that matters for scores without a unit: 1 % of a loss, 0.01 of a metric
GainUnit = Literal["relative", "difference", "common"]
"""Type of a gain: a fraction of the baseline, a difference of scores, or, for means over tasks of
different units, a gain on the common scale, on which 0.01 is the gain that matters."""

GAIN_UNITS: Mapping[GainUnit, str] = {
    "relative": "fraction of the single-task score",
    "difference": "difference of scores",
    "common": f"{MATTERS} is one difference that matters",
}
"""The units of gains in words."""

Values = TypeVar("Values", float, np.ndarray, Tensor)


@dataclass(frozen=True)
class Score:
    r"""How the scores of a task are compared; the only definition of gain.

    The gain of a score :math:`s` over a baseline :math:`b` is above 0 if s is better:

    .. math::
        \text{gain} = \pm \frac{s - b}{|b|} \quad \text{(relative)} \qquad \text{or} \qquad
        \text{gain} = \pm (s - b) \quad \text{(difference)}

    The denominator is the size of the baseline, so that the sign is right for negative scores,
    too. If the baseline is 0, the size of the score is used instead: the gain is 1 or -1, and 0
    if both are 0.

    Args:
        direction: Whether a larger or a smaller score is better.
        unit: The gain that matters: in the score's own units, or as a fraction of the baseline
            if scores are compared relatively. 0.01 if None.
        relative: Whether scores are compared relatively. By default they are if the score is
            minimized (a loss) and has no unit; otherwise by differences.
        weight: The task's weight in means over tasks.

    Raises:
        InputError: If the direction is unknown, or the unit or the weight is not above 0.

    Example:
        >>> Score("minimize").gain(0.25, 0.5)  # half of the loss is gone
        0.5
        >>> round(Score("maximize").gain(0.71, 0.70), 6)  # 0.01 of AUC
        0.01
        >>> Score("minimize").gain(-3.0, -2.0)
        0.5
    """

    direction: Direction
    unit: float | None = None
    relative: bool | None = None
    weight: float = 1.0

    def __post_init__(self) -> None:
        _check_direction(self.direction)
        for name, value in (("unit", self.unit), ("weight", self.weight)):
            check_number(f"the {name} of a score", value, f"invalid-{name}", above=0, below=inf)

    @classmethod
    def of(cls, score: "Score | str") -> "Score":
        """A score, or the direction of one.

        Example:
            >>> Score.of("maximize").is_relative
            False
        """
        return score if isinstance(score, Score) else cls(_check_direction(score))

    @property
    def is_relative(self) -> bool:
        """Whether scores are compared relatively."""
        if self.relative is not None:
            return self.relative
        return self.direction == "minimize" and self.unit is None

    @property
    def gain_unit(self) -> GainUnit:
        """The unit of its gains."""
        return "relative" if self.is_relative else "difference"

    @property
    def sign(self) -> float:
        """1 if a larger score is better, else -1."""
        return 1.0 if self.direction == "maximize" else -1.0

    @property
    def scale(self) -> float:
        """Factor on gains before they are averaged over tasks with other units.

        On the common scale 0.01 is the gain that matters (`MATTERS`), for every task; gains of a
        task without a unit are not changed.
        """
        return 1.0 if self.unit is None else MATTERS / self.unit

    def size(self, baseline: Values, score: Values) -> Values:
        """Divisor of differences: 1, or the absolute value of the baseline if relative."""
        size = abs(baseline)
        if not self.is_relative:
            return cast("Values", size * 0.0 + 1.0)
        size = size + (baseline == 0) * abs(score)
        return cast("Values", size + (size == 0))

    def gain(self, score: Values, baseline: Values) -> Values:
        """The gain of a score over a baseline; arrays and tensors entry by entry.

        Means over replicates are compared as ``gain(mean score, mean baseline)``.
        """
        return cast("Values", self.sign * (score - baseline) / self.size(baseline, score))

    def format(self, gain: float) -> str:
        """A gain as text, in its unit.

        Example:
            >>> Score("minimize").format(0.034), Score("maximize").format(0.0021)
            ('+3.4 %', '+0.0021')
        """
        return f"{100 * gain:+.1f} %" if self.is_relative else f"{gain:+.3g}"


def _check_direction(direction: str) -> Direction:
    check_choice("the direction", direction, get_args(Direction), "unknown-direction")
    return cast("Direction", direction)


def common_unit(scores: Iterable[Score]) -> GainUnit:
    """The unit of the overall gain of tasks with these scores: "common" where directions differ."""
    units: set[GainUnit] = {
        "common" if score.unit is not None else score.gain_unit for score in scores
    }
    return units.pop() if len(units) == 1 else "common"


def weights_of(scores: "dict[str, Score]") -> dict[str, float]:
    """Factor on each task's gains, so that their unweighted mean is the overall gain.

    That is its scale to the common unit, times its weight as a multiple of the mean weight.
    """
    mean = sum(score.weight for score in scores.values()) / len(scores)
    return {task: score.scale * score.weight / mean for task, score in scores.items()}
