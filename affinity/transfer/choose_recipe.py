"""The best recipe, chosen on development rows by cross-validation over replicates."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from affinity.errors import InputError
from affinity.statistics import Gains, Verdict

from .recipes import (
    L2SP,
    RECIPES,
    FromScratch,
    LayerwiseDecay,
    Recipe,
    SmallerLearningRate,
    SurgicalFineTuning,
)
from .transfer import Scores, Transfer

CHOSEN = "chosen for each pair"
CHOSEN_FOR_ALL = "chosen for all pairs"


def candidates() -> dict[str, Recipe]:
    """Recipes with other settings beside those of the table: rates, decays, pulls and blocks."""
    tuned = {name: each for name, each in RECIPES.items() if not isinstance(each, FromScratch)}
    return {
        **tuned,
        "smaller learning rate (0.3)": SmallerLearningRate(0.3),
        "layer-wise decay (0.25)": LayerwiseDecay(0.25),
        "L2-SP (0.01)": L2SP(0.01),
        "L2-SP (1)": L2SP(1.0),
        "surgical (first)": SurgicalFineTuning("first"),
        "surgical (middle)": SurgicalFineTuning("middle"),
    }


@dataclass(frozen=True, eq=False)
class ChosenRecipe:
    """What choosing among recipes gives.

    Args:
        recipes: By name: the one to use for each pair, from all replicates.
        transfer: What so chosen recipes gave: on each replicate the one that is best on all others.
        for_all: The same of one recipe for all pairs together.
        measured: What there was to choose from.
    """

    recipes: Mapping[tuple[str, str], str]
    transfer: Transfer
    for_all: Transfer
    measured: Mapping[str, Transfer]

    @property
    def seconds(self) -> float:
        """What the tunings by all recipes took."""
        return sum(each.seconds for each in self.measured.values())

    def gains(self, over: str) -> Gains:
        """What choosing for each pair gained over one recipe for all; a task a pair.

        Raises:
            InputError: If that recipe was not measured.
        """
        return _over(self.transfer, self._named(over))

    def verdicts(self, over: str) -> dict[tuple[str, str], Verdict]:
        """A verdict a pair: whether the chosen recipe is better than one for all."""
        pairs = self.transfer.pairs
        return dict(zip(pairs, self.transfer.test(self.gains(over)), strict=True))

    def overall(self, over: str) -> pd.DataFrame:
        """One row a way to choose and a recipe: mean gains over pairs, with 95 % intervals.

        ``gain`` is over from scratch, ``over`` over one recipe for all, ``pairs`` how many pairs
        the recipe is to be used for, ``seconds`` what its tunings took: of a choice, those of all
        recipes.
        """
        other = self._named(over)
        counts = Counter(self.recipes.values())
        every = {CHOSEN: self.transfer, CHOSEN_FOR_ALL: self.for_all, **self.measured}
        rows: list[dict[str, Any]] = []
        for name, each in every.items():
            row: dict[str, Any] = {"recipe": name, "pairs": counts.get(name, 0)}
            for column, gains in {"gain": each.gains(), "over": _over(each, other)}.items():
                mean = gains.estimate_overall()
                low, high = mean.interval(0.95)
                row |= {column: mean.mean[0], f"{column}_low": low[0], f"{column}_high": high[0]}
            row["seconds"] = each.seconds if name in self.measured else self.seconds
            rows.append(row)
        return pd.DataFrame(rows)

    def summary(self, over: str) -> str:
        """What choosing gained over one recipe for all, and what it cost, in words."""
        found = self.overall(over).set_index("recipe")
        verdicts = Counter(each.verdict for each in self.verdicts(over).values())
        gained = {
            name: f"{found.loc[name, 'over']:+.1%} ({found.loc[name, 'over_low']:+.1%} to "
            f"{found.loc[name, 'over_high']:+.1%})"
            for name in (CHOSEN, CHOSEN_FOR_ALL)
        }
        counted = ", ".join(
            f"{verdicts[name]} {name}"
            for name in ("beneficial", "neutral", "harmful", "undecided")
            if verdicts[name]
        )
        times = self.seconds / self._named(over).seconds
        return (
            f"A recipe for each pair, chosen among {len(self.measured)}, gains {gained[CHOSEN]} "
            f"over {over} for all, mean over {len(self.recipes)} pairs ({counted}); one recipe "
            f"for all pairs, chosen likewise, {gained[CHOSEN_FOR_ALL]}. Choosing took {times:.2g} "
            f"times the tuning of {over} alone."
        )

    def _named(self, recipe: str) -> Transfer:
        if recipe not in self.measured:
            raise InputError(f"Expected one of the recipes {[*self.measured]}, but got {recipe!r}.")
        return self.measured[recipe]


def choose_recipe(measured: Mapping[str, Transfer]) -> ChosenRecipe:
    """Choose a recipe for each pair by evaluation losses, and say honestly what that is worth.

    On each replicate that recipe counts which has the lowest mean evaluation loss on the other
    replicates; its test loss there had no part in the choice. So the gain of choosing is not that
    of the luckiest recipe. One recipe for all pairs is chosen likewise, by the mean share of the
    loss from scratch.

    Args:
        measured: By the recipe's name, on the same sources, targets and replicates.

    Raises:
        InputError: If there is no recipe, fewer than two replicates, or other pairs.
    """
    if not measured:
        raise InputError("Expected at least one recipe to choose from, but got none.")
    names = list(measured)
    first = measured[names[0]]
    for name, each in measured.items():
        if each.pairs != first.pairs or each.tuned.test.shape != first.tuned.test.shape:
            raise InputError(
                f"Expected recipes on the same sources, targets and replicates, but {name!r} was "
                f"measured on others than {names[0]!r}."
            )
    if first.n_replicates < 2:
        raise InputError("Expected at least two replicates to choose a recipe, but got one.")
    losses = torch.stack([each.tuned.evaluation for each in measured.values()])
    shares = losses / first.scratch.evaluation  # recipe source replicate target
    best: list[Tensor] = []
    best_for_all: list[Tensor] = []
    for at in range(first.n_replicates):
        others = [other for other in range(first.n_replicates) if other != at]
        best.append(_lowest(losses, others))
        best_for_all.append(_lowest_of_all(shares, others, first.is_measured))
    to_use = _lowest(losses, range(first.n_replicates))
    return ChosenRecipe(
        recipes={
            (first.sources[row], first.targets[column]): names[int(to_use[row, column])]
            for row, column in first.is_measured.nonzero()
        },
        transfer=_followed(measured, best, CHOSEN),
        for_all=_followed(measured, best_for_all, CHOSEN_FOR_ALL),
        measured=dict(measured),
    )


def _lowest(
    losses: Float[Tensor, "recipe source replicate target"], on: Sequence[int]
) -> Int[Tensor, "source target"]:
    """The recipe of the lowest mean loss on these replicates, for each pair."""
    return losses[:, :, list(on)].mean(dim=2).nan_to_num(nan=torch.inf).argmin(dim=0)


def _lowest_of_all(
    shares: Float[Tensor, "recipe source replicate target"], on: Sequence[int], is_measured: Tensor
) -> Int[Tensor, "source target"]:
    """The recipe of the lowest mean over replicates and pairs, for every pair the same."""
    mean = shares[:, :, list(on)].mean(dim=2)[:, is_measured].mean(dim=1)
    best = mean.nan_to_num(nan=torch.inf).argmin(dim=0)
    return best.expand(is_measured.shape)


def _followed(
    measured: Mapping[str, Transfer], best: Sequence[Int[Tensor, "source target"]], name: str
) -> Transfer:
    """What the recipes gave that were chosen for each replicate."""
    parts: dict[str, list[Tensor]] = {"test": [], "evaluation": [], "blocks": []}
    for at, chosen in enumerate(best):
        for part, found in parts.items():
            of_recipes = torch.stack(
                [getattr(each.tuned, part)[:, at] for each in measured.values()]
            )  # recipe source target ...
            index = chosen[None].reshape(1, *chosen.shape, *[1] * (of_recipes.dim() - 3))
            index = index.expand(1, *of_recipes.shape[1:])
            found.append(of_recipes.gather(0, index)[0])
    tuned = Scores(**{part: torch.stack(found, dim=1) for part, found in parts.items()})
    return replace(next(iter(measured.values())), recipe=name, tuned=tuned)


def _over(transfer: Transfer, other: Transfer) -> Gains:
    """The losses of one transfer beside those of another; a task a pair."""
    gains, baseline = transfer.gains(), other.gains()
    return replace(gains, baseline=baseline.scores, baseline_blocks=baseline.score_blocks)
