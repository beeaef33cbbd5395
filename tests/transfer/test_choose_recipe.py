"""The choice of a recipe by cross-validation over replicates, and its gain."""

import math
from dataclasses import replace

import pytest
import torch
from codes import raises
from made_up import made_up_pair, made_up_transfer

from affinity.transfer import ChosenRecipe, Transfer, choose_recipe


def test_a_recipe_is_chosen_by_evaluation_rows_of_other_replicates() -> None:
    steady = made_up_pair([0.5, 0.5, 0.5], [0.4, 0.4, 0.4])
    lucky = made_up_pair([0.1, 0.9, 0.9], [0.0, 0.9, 0.9])  # best where it is not judged
    chosen = choose_recipe({"lucky": lucky, "steady": steady})
    assert chosen.recipes == {("depth", "edges"): "steady"}
    # On replicate 0 the others say steady; on 1 and 2 luck is half of what is seen: 0.45 > 0.4.
    assert chosen.transfer.tuned.test.flatten().tolist() == [0.5, 0.5, 0.5]
    assert chosen.transfer.values().item() == pytest.approx(0.5)


def test_the_choice_does_not_see_test_rows() -> None:
    good, bad = made_up_pair([0.1, 0.1], [0.9, 0.9]), made_up_pair([0.8, 0.8], [0.2, 0.2])
    assert choose_recipe({"good": good, "bad": bad}).transfer.values().item() == pytest.approx(0.2)


def test_training_from_scratch_is_given_the_same_choice_of_settings() -> None:
    slow = made_up_pair([0.5, 0.5], [0.5, 0.5])
    good_scratch = made_up_pair([0.6, 0.6], [0.6, 0.6]).tuned
    fast = replace(made_up_pair([0.9, 0.9], [0.9, 0.9]), scratch=good_scratch)
    choice = choose_recipe({"slow": slow, "fast": fast})
    assert choice.transfer.values().item() == pytest.approx(1 - 0.5 / 0.6)
    assert choice.measured["slow"].values().item() == pytest.approx(1 - 0.5 / 0.6)


def test_a_choice_among_nothing_or_of_one_replicate_is_refused() -> None:
    with raises("no-recipe"):
        choose_recipe({})
    with raises("too-few-replicates"):
        choose_recipe({"r": made_up_pair([1.0], [1.0])})
    with raises("different-pairs"):
        choose_recipe({"r": made_up_pair([1.0, 1.0], [1.0, 1.0]), "s": made_up_pair([1.0], [1.0])})


def scaled(transfer: Transfer, by: list[float], seconds: float) -> Transfer:
    """Losses of the two targets, scaled by two factors."""
    times = torch.tensor(by, dtype=torch.double)
    tuned = replace(
        transfer.tuned,
        test=transfer.tuned.test * times,
        evaluation=transfer.tuned.evaluation * times,
        blocks=transfer.tuned.blocks * times[:, None].float(),
    )
    return replace(transfer, tuned=tuned, seconds=seconds)


@pytest.fixture
def chosen() -> ChosenRecipe:
    """A probe that is better on key points by a half, and worse on shading by three quarters."""
    full = made_up_transfer(n_blocks=8)
    return choose_recipe(
        {"full": scaled(full, [1, 1], 2.0), "probe": scaled(full, [0.5, 1.75], 1.0)}
    )


def test_choosing_gains_over_one_recipe_what_the_pairs_gain_that_it_serves(
    chosen: ChosenRecipe,
) -> None:
    assert {target: recipe for (_, target), recipe in chosen.recipes.items()} == {
        "key points": "probe",
        "shading": "full",
    }
    gains = chosen.gains("full").by_task()
    assert gains["depth → key points"] == pytest.approx(0.5)
    assert gains["depth → shading"] == 0.0
    verdicts = chosen.verdicts("full")
    assert verdicts["depth", "key points"].verdict == "beneficial"
    assert verdicts["depth", "shading"].verdict == "neutral"
    overall = chosen.overall("full").set_index("recipe")
    assert overall.loc["chosen for each pair", "over"] == pytest.approx(0.25)
    assert overall["pairs"].tolist() == [0, 0, 4, 4]


def test_one_recipe_for_all_is_that_of_the_lowest_mean_loss(chosen: ChosenRecipe) -> None:
    full = chosen.measured["full"]
    assert torch.equal(chosen.for_all.tuned.test, full.tuned.test)
    overall = chosen.overall("full").set_index("recipe")
    assert overall.loc["chosen for all pairs", "over"] == 0.0
    assert overall.loc["probe", "over"] == pytest.approx((0.5 - 0.75) / 2)


def test_a_choice_says_what_it_costs(chosen: ChosenRecipe) -> None:
    assert chosen.overall("full")["seconds"].tolist() == [3.0, 3.0, 2.0, 1.0]
    summary = chosen.summary("full")
    assert all(part in summary for part in ("+25.0 %", "8 pairs", "4 beneficial", "4 neutral"))
    assert "1.5 times" in summary


def test_a_choice_is_compared_with_recipes_that_were_measured(chosen: ChosenRecipe) -> None:
    with raises("unknown-recipe"):
        chosen.gains("L2")


def test_a_recipe_that_diverged_is_not_chosen() -> None:
    well, diverged = made_up_pair([0.5, 0.5], [0.5, 0.5]), made_up_pair([0.1, 0.1], [0.1, math.nan])
    chosen = choose_recipe({"diverged": diverged, "well": well})
    assert set(chosen.recipes.values()) == {"well"}
    assert chosen.for_all.tuned.test.tolist() == [[[0.5], [0.1]]]
