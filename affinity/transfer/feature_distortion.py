"""What each recipe does to a source's representation and to losses, in and out of distribution."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
from jaxtyping import Float
from torch import Tensor

from affinity.errors import InputError
from affinity.statistics import Gains, interval

from .transfer import ARROW

FAMILIAR, SHIFTED = "familiar", "shifted"
WHERE = (FAMILIAR, SHIFTED)
FINE_TUNING = "full fine-tuning"
PROBE_FIRST = "linear probe then fine-tuning"


@dataclass(frozen=True, eq=False)
class FeatureDistortion:
    """Drift, similarity and losses after each recipe, on familiar and on shifted test rows.

    Before a recipe the representation is the source's: a drift of 0, a similarity of 1.

    Args:
        pairs: Source and target each.
        recipes: By name; the first axis.
        drift: See `Distortion`.
        similarity: See `Distortion`.
        loss: Of the target.
        blocks: Losses on blocks of the rows; NaN beyond a task's own.
    """

    pairs: tuple[tuple[str, str], ...]
    recipes: tuple[str, ...]
    drift: Float[Tensor, "recipe pair replicate where"]
    similarity: Float[Tensor, "recipe pair replicate where"]
    loss: Float[Tensor, "recipe pair replicate where"]
    blocks: Float[Tensor, "recipe pair replicate where block"]

    def gains(self, recipe: str, where: str, against: str = FINE_TUNING) -> Gains:
        """A task a pair: the losses of one recipe beside those of another.

        Raises:
            InputError: If a recipe was not measured.
        """
        for name in (recipe, against):
            if name not in self.recipes:
                raise InputError(f"Expected one of the recipes {self.recipes}, but got {name!r}.")
        one, other, at = self.recipes.index(recipe), self.recipes.index(against), WHERE.index(where)
        return Gains(
            tasks=tuple(f"{source}{ARROW}{target}" for source, target in self.pairs),
            scores=self.loss[one, :, :, at].T,
            baseline=self.loss[other, :, :, at].T,
            score_blocks=self.blocks[one, :, :, at].transpose(0, 1),
            baseline_blocks=self.blocks[other, :, :, at].transpose(0, 1),
        )

    def frame(self) -> pd.DataFrame:
        """One row a pair, recipe and kind of rows, with 95 % intervals; gains over fine-tuning."""
        found: list[dict[str, Any]] = []
        for at, recipe in enumerate(self.recipes):
            for column, where in enumerate(WHERE):
                gains = self.gains(recipe, where).frame() if self._has_baseline else None
                for row, (source, target) in enumerate(self.pairs):
                    moved = {
                        name: getattr(self, name)[at, row, :, column]
                        for name in ("drift", "similarity")
                    }
                    own: dict[str, Any] = {"source": source, "target": target}
                    own |= {"recipe": recipe, "rows": where} | _with_interval(moved)
                    if gains is not None:
                        own |= {name: gains[name].iat[row] for name in ("gain", "low", "high")}
                    found.append(own)
        return pd.DataFrame(found)

    def overall(self) -> pd.DataFrame:
        """One row a recipe and kind of rows: means over the pairs, with 95 % intervals."""
        found: list[dict[str, Any]] = []
        for at, recipe in enumerate(self.recipes):
            for column, where in enumerate(WHERE):
                moved = {
                    name: getattr(self, name)[at, :, :, column].mean(dim=0)
                    for name in ("drift", "similarity")
                }
                row = {"recipe": recipe, "rows": where} | _with_interval(moved)
                if self._has_baseline:
                    mean = self.gains(recipe, where).estimate_overall()
                    low, high = mean.interval(0.95)
                    row |= {"gain": mean.mean[0], "low": low[0], "high": high[0]}
                found.append(row)
        return pd.DataFrame(found)

    @property
    def summary(self) -> str:
        """A probe before fine-tuning beside fine-tuning alone, in words."""
        if PROBE_FIRST not in self.recipes or not self._has_baseline:
            return ""
        found = self.overall()
        parts: list[str] = []
        for where in WHERE:
            row = _row(found, PROBE_FIRST, where)
            said = f"{row['gain']:+.1%}"
            if math.isfinite(row["low"]):
                said += f" ({row['low']:+.1%} to {row['high']:+.1%})"
            parts.append(f"{said} on {where} rows")
        drifts = [_row(found, name, FAMILIAR)["drift"] for name in (PROBE_FIRST, FINE_TUNING)]
        return (
            f"A linear probe before fine-tuning gains {' and '.join(parts)} over fine-tuning "
            f"alone, mean over {len(self.pairs)} pair{'' if len(self.pairs) == 1 else 's'}; the "
            f"representation drifts by {drifts[0]:.2f} instead of {drifts[1]:.2f} of its length."
        )

    @property
    def _has_baseline(self) -> bool:
        return FINE_TUNING in self.recipes


def _with_interval(values: Mapping[str, Float[Tensor, " replicate"]]) -> dict[str, float]:
    """Mean, low and high of each."""
    found: dict[str, float] = {}
    for name, each in values.items():
        low, high = interval(each.numpy())
        found |= {name: float(each.mean()), f"{name}_low": float(low), f"{name}_high": float(high)}
    return found


def _row(table: pd.DataFrame, recipe: str, where: str) -> dict[str, Any]:
    """The row of a recipe and a kind of rows."""
    chosen = table[(table["recipe"] == recipe) & (table["rows"] == where)]
    return {str(key): value for key, value in chosen.iloc[0].to_dict().items()}
