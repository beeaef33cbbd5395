"""Choice of a recipe and its settings for each pair, by cross-validation over replicates."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from affinity.errors import InputError, check_choice, check_number
from affinity.statistics import Gains, Verdict, VerdictName
from affinity.training import TrainingSettings
from affinity.words import gain_in_percent

from .recipes import (
    L2SP,
    TRANSFER_RECIPES,
    FullFineTuning,
    LayerwiseDecay,
    LinearProbe,
    ProbeThenTune,
    Recipe,
    ReinitializedLastLayer,
    SmallerLearningRate,
    SurgicalFineTuning,
)
from .transfer import Transfer, TransferLosses
from .tuning_plan import TuningPlan

CHOSEN = "chosen for each pair"
CHOSEN_FOR_ALL = "chosen for all pairs"


@dataclass(frozen=True)
class TuningCandidate:
    """A recipe with training settings, one of those to choose from."""

    recipe: Recipe | TuningPlan
    settings: TrainingSettings


def tuning_candidates(settings: TrainingSettings) -> dict[str, TuningCandidate]:
    """The recipes to choose from between tasks of a table, and settings of the main ones.

    All recipes with the given settings, some recipes with several strengths; and full fine-tuning,
    a linear probe, and the probe followed by tuning with another learning rate, with weight decay,
    and with fewer and more epochs. Heads are new here, so that re-initializing the last layer would
    be full fine-tuning again.

    Example:
        >>> candidates = tuning_candidates(TrainingSettings(learning_rate=0.01))
        >>> round(candidates["linear probe, 3 times the learning rate"].settings.learning_rate, 6)
        0.03
    """
    recipes: dict[str, Recipe] = {
        **TRANSFER_RECIPES,
        "smaller learning rate (0.3)": SmallerLearningRate(0.3),
        "layer-wise decay (0.25)": LayerwiseDecay(0.25),
        "L2-SP (0.01)": L2SP(0.01),
        "L2-SP (1)": L2SP(1.0),
        "surgical (first)": SurgicalFineTuning("first"),
        "surgical (middle)": SurgicalFineTuning("middle"),
    }
    variants = {
        "0.3 times the learning rate": replace(
            settings, learning_rate=0.3 * settings.learning_rate
        ),
        "3 times the learning rate": replace(settings, learning_rate=3 * settings.learning_rate),
        "weight decay 0.01": replace(settings, weight_decay=0.01),
        "a third of the epochs": replace(settings, epochs=max(2, settings.epochs // 3)),
        "twice the epochs": replace(settings, epochs=2 * settings.epochs),
    }
    candidates = {
        name: TuningCandidate(recipe, settings)
        for name, recipe in recipes.items()
        if not isinstance(recipe, ReinitializedLastLayer)
    }
    for name, recipe in recipes.items():
        if isinstance(recipe, FullFineTuning | LinearProbe | ProbeThenTune):
            candidates |= {
                f"{name}, {text}": TuningCandidate(recipe, variant)
                for text, variant in variants.items()
            }
    return candidates


@dataclass(frozen=True)
class RecipeGain:
    """Mean gains of one recipe, or of one way to choose recipes, with 95 % intervals.

    `gain` is over from scratch, `over` is over one recipe for all pairs, `pairs` counts the pairs
    that the recipe was chosen for, `seconds` is the time of fine-tuning; for a choice, of all
    recipes.
    """

    recipe: str
    pairs: int
    gain: float
    gain_low: float
    gain_high: float
    over: float
    over_low: float
    over_high: float
    seconds: float


@dataclass(frozen=True)
class PairRecipe:
    """The recipe chosen for a pair, and its gain over one recipe for all pairs."""

    source: str
    target: str
    recipe: str
    gain: float
    low: float
    high: float
    verdict: VerdictName


@dataclass(frozen=True, eq=False)
class ChosenRecipe:
    """The recipe chosen for each pair, and the gain of choosing.

    Args:
        chosen: The recipe for each pair of `transfer`, from all replicates.
        transfer: Gains when each replicate uses the recipe that is best on all others.
        for_all: The same with one recipe for all pairs.
        measured: Transfer with each recipe that could be chosen.
    """

    chosen: tuple[str, ...]
    transfer: Transfer
    for_all: Transfer
    measured: Mapping[str, Transfer]

    @property
    def recipes(self) -> dict[tuple[str, str], str]:
        """The recipe for each pair."""
        return dict(zip(self.transfer.pairs, self.chosen, strict=True))

    @property
    def seconds(self) -> float:
        """Time of fine-tuning with all recipes."""
        return sum(transfer.seconds for transfer in self.measured.values())

    def gains(self, over: str) -> Gains:
        """Gains of choosing for each pair over one recipe for all.

        Raises:
            InputError: If that recipe was not measured.
        """
        return _gains_over(self.transfer, self._measured(over))

    def verdicts(self, over: str) -> dict[tuple[str, str], Verdict]:
        """The verdict on each pair: whether the chosen recipe is better than one for all."""
        pairs = self.transfer.pairs
        return dict(zip(pairs, self.transfer.test(self.gains(over)), strict=True))

    def pair_recipes(self, over: str) -> tuple[PairRecipe, ...]:
        """The recipe of each pair, with its gain over one recipe for all."""
        return tuple(
            PairRecipe(*pair, self.recipes[pair], v.gain, v.low, v.high, v.verdict)
            for pair, v in self.verdicts(over).items()
        )

    def recipe_gains(self, over: str) -> tuple[RecipeGain, ...]:
        """Mean gains over all pairs of both ways to choose, and of each recipe."""
        other = self._measured(over)
        counts = Counter(self.chosen)
        transfers = {CHOSEN: self.transfer, CHOSEN_FOR_ALL: self.for_all, **self.measured}
        rows: list[RecipeGain] = []
        for name, transfer in transfers.items():
            gain, over_other = (
                _mean_with_interval(gains)
                for gains in (transfer.gains(), _gains_over(transfer, other))
            )
            seconds = transfer.seconds if name in self.measured else self.seconds
            rows.append(RecipeGain(name, counts.get(name, 0), *gain, *over_other, seconds))
        return tuple(rows)

    def overall(self, over: str) -> pd.DataFrame:
        """One row per way to choose and per recipe: the fields of `RecipeGain`."""
        return pd.DataFrame(self.recipe_gains(over))

    def summary(self, over: str) -> str:
        """The gain of choosing over one recipe for all, and its cost, in words."""
        gains = {
            row.recipe: gain_in_percent(row.over, row.over_low, row.over_high)
            for row in self.recipe_gains(over)
        }
        counts = Counter(verdict.verdict for verdict in self.verdicts(over).values())
        counted = ", ".join(
            f"{counts[name]} {name}"
            for name in ("beneficial", "neutral", "harmful", "undecided")
            if counts[name]
        )
        times = self.seconds / self._measured(over).seconds
        return (
            f"Choosing one of {len(self.measured)} recipes for each pair gains {gains[CHOSEN]} "
            f"over {over} for all, averaged over {len(self.chosen)} pairs ({counted}); choosing "
            f"one recipe for all pairs gains {gains[CHOSEN_FOR_ALL]}. The choice took {times:.2g} "
            f"times as long as {over} alone."
        )

    def _measured(self, recipe: str) -> Transfer:
        check_choice("the recipe", recipe, self.measured, "unknown-recipe")
        return self.measured[recipe]


def choose_recipe(measured: Mapping[str, Transfer]) -> ChosenRecipe:
    """Choose a recipe for each pair by evaluation losses, and measure the gain of choosing.

    Recipes may differ in their training settings and in the architecture of the trunk, too. Each
    replicate uses the recipe with the lowest mean evaluation loss on the other replicates; its
    test loss had no part in that choice, so that the gain is not biased by the choice.
    One recipe for all pairs is chosen in the same way, by the mean of the losses relative to those
    from scratch. Where recipes were measured with different training settings or architectures,
    those of training from scratch are chosen for each target in the same way, too, so that gains
    are over a baseline that was given the same choice.

    Args:
        measured: Transfer by recipe, on the same sources, targets and replicates.

    Raises:
        InputError: If there is no recipe, only one replicate, or the pairs differ.
    """
    if not measured:
        raise InputError("Expected at least one recipe to choose from, but got none.", "no-recipe")
    names = list(measured)
    first = measured[names[0]]
    for name, transfer in measured.items():
        if transfer.pairs != first.pairs or transfer.tuned.test.shape != first.tuned.test.shape:
            raise InputError(
                f"Expected recipes measured on the same sources, targets and replicates, but those "
                f"of {name!r} differ from those of {names[0]!r}.",
                "different-pairs",
            )
    n_replicates = first.n_replicates
    check_number("the number of replicates", n_replicates, "too-few-replicates", least=2)
    scratch = _choose_scratch([transfer.scratch for transfer in measured.values()])
    measured = {name: replace(transfer, scratch=scratch) for name, transfer in measured.items()}
    first = measured[names[0]]
    tuned = [transfer.tuned for transfer in measured.values()]
    losses = torch.stack([of_recipe.evaluation for of_recipe in tuned])
    relative = losses / first.scratch.evaluation.abs()  # recipe source replicate target
    best: list[Tensor] = []
    best_for_all: list[Tensor] = []
    for replicate in range(n_replicates):
        others = [number for number in range(n_replicates) if number != replicate]
        best.append(_lowest(losses, others))
        best_for_all.append(_lowest_for_all(relative, others, first.is_measured))
    final = _lowest(losses, range(n_replicates))[first.is_measured]
    return ChosenRecipe(
        chosen=tuple(names[number] for number in final.tolist()),
        transfer=replace(first, recipe=CHOSEN, tuned=_select(tuned, best)),
        for_all=replace(first, recipe=CHOSEN_FOR_ALL, tuned=_select(tuned, best_for_all)),
        measured=dict(measured),
    )


def _choose_scratch(measured: Sequence[TransferLosses]) -> TransferLosses:
    """From scratch with the settings that are best on the other replicates, for each target."""
    n_replicates = measured[0].test.shape[1]
    losses = torch.stack([scratch.evaluation for scratch in measured])
    best = [
        _lowest(losses, [other for other in range(n_replicates) if other != replicate])
        for replicate in range(n_replicates)
    ]
    return _select(measured, best)


def _lowest(
    losses: Float[Tensor, "recipe source replicate target"], replicates: Sequence[int]
) -> Int[Tensor, "source target"]:
    """The recipe with the lowest mean loss on these replicates, for each pair."""
    return losses[:, :, list(replicates)].mean(dim=2).nan_to_num(nan=torch.inf).argmin(dim=0)


def _lowest_for_all(
    losses: Float[Tensor, "recipe source replicate target"],
    replicates: Sequence[int],
    is_measured: Tensor,
) -> Int[Tensor, "source target"]:
    """The recipe with the lowest mean loss over replicates and pairs, for every pair the same."""
    mean = losses[:, :, list(replicates)].mean(dim=2)[:, is_measured].mean(dim=1)
    return mean.nan_to_num(nan=torch.inf).argmin(dim=0).expand(is_measured.shape)


def _select(
    measured: Sequence[TransferLosses], best: Sequence[Int[Tensor, "source target"]]
) -> TransferLosses:
    """The losses of the recipe chosen for each replicate and pair."""

    def select(part: str) -> Tensor:
        losses = torch.stack([getattr(of_recipe, part) for of_recipe in measured])
        of_replicates: list[Tensor] = []
        for number, recipes in enumerate(best):
            candidates = losses[:, :, number]  # recipe source target ...
            index = recipes[None].reshape(1, *recipes.shape, *[1] * (candidates.dim() - 3))
            chosen = candidates.gather(0, index.expand(1, *candidates.shape[1:]))
            of_replicates.append(chosen[0])
        return torch.stack(of_replicates, dim=1)

    return TransferLosses(select("test"), select("evaluation"), select("blocks"))


def _mean_with_interval(gains: Gains) -> tuple[float, float, float]:
    mean = gains.estimate_overall()
    low, high = mean.interval(0.95)
    return float(mean.mean[0]), float(low[0]), float(high[0])


def _gains_over(transfer: Transfer, other: Transfer) -> Gains:
    """The gains of one transfer over another, pair by pair."""
    gains, baseline = transfer.gains(), other.gains()
    return replace(gains, baseline=baseline.scores, baseline_blocks=baseline.score_blocks)
