"""The best recipe, chosen on development rows by cross-validation over replicates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from affinity.errors import InputError

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
    """

    recipes: Mapping[tuple[str, str], str]
    transfer: Transfer


def choose_recipe(measured: Mapping[str, Transfer]) -> ChosenRecipe:
    """Choose a recipe for each pair by evaluation losses, and say honestly what that is worth.

    On each replicate that recipe counts which has the lowest mean evaluation loss on the other
    replicates; its test loss there had no part in the choice. So the gain of choosing is not that
    of the luckiest recipe.

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
    evaluation = torch.stack([each.tuned.evaluation for each in measured.values()])
    best = _best(evaluation, [True] * first.n_replicates)  # source target
    parts: dict[str, list[Tensor]] = {"test": [], "evaluation": [], "blocks": []}
    for at in range(first.n_replicates):
        chosen = _best(evaluation, [other != at for other in range(first.n_replicates)])
        for part, found in parts.items():
            of_recipes = torch.stack(
                [getattr(each.tuned, part)[:, at] for each in measured.values()]
            )  # recipe source target ...
            index = chosen[None].reshape(1, *chosen.shape, *[1] * (of_recipes.dim() - 3))
            index = index.expand(1, *of_recipes.shape[1:])
            found.append(of_recipes.gather(0, index)[0])
    tuned = Scores(**{part: torch.stack(found, dim=1) for part, found in parts.items()})
    return ChosenRecipe(
        recipes={
            (first.sources[row], first.targets[column]): names[int(best[row, column])]
            for row, column in first.is_measured.nonzero()
        },
        transfer=replace(first, recipe="chosen by cross-validation", tuned=tuned),
    )


def _best(
    evaluation: Float[Tensor, "recipe source replicate target"], on: Sequence[bool]
) -> Tensor:
    """The recipe of the lowest mean loss on these replicates, ``[source target]``."""
    mean = evaluation[:, :, torch.tensor(on)].mean(dim=2)
    return mean.nan_to_num(nan=torch.inf).argmin(dim=0)
