"""The way to share is chosen by measurement, and an assumption is named."""

from itertools import permutations

import numpy as np
import pytest
import torch

from affinity import AffinityMatrix, Grouping, Network, recommend
from affinity.recommendation import MeasuredSharing, choose_sharing

NOISE = np.array([-1.0, 0.0, 1.0, -0.5, 0.5])


def way(sharing, gain, spread=0.0, veto=None):
    gains = gain + spread * NOISE
    return MeasuredSharing(sharing, gains, gains, veto)


HARD = way("hard", 0.0)


@pytest.mark.parametrize(
    ("ways", "chosen"),
    [
        ([HARD, way("mmoe", 0.05), way("soft", 0.02)], "mmoe"),
        ([HARD, way("mmoe", -0.05), way("soft", -0.02)], "hard"),
        ([HARD, way("mmoe", 0.05, spread=0.5)], "hard"),
        ([HARD, way("mmoe", 0.05, veto="its gates take one expert"), way("soft", 0.02)], "soft"),
        ([HARD, way("mmoe", 0.05, veto="its gates take one expert")], "hard"),
        ([HARD, way("mmoe", np.nan, veto="its training failed"), way("soft", 0.02)], "soft"),
    ],
    ids=[
        "the best",
        "none gains",
        "within its error",
        "the best is vetoed",
        "all are vetoed",
        "failed",
    ],
)
def test_the_way_is_the_best_that_is_shown_to_be(ways, chosen):
    for order in permutations(ways):
        assert choose_sharing(order)[0] == chosen


def test_a_gain_within_the_tolerance_counts_as_equal():
    ways = [HARD, way("soft", 0.008), way("mmoe", -0.02)]
    chosen, reason = choose_sharing(ways, tolerance=0.01)
    assert chosen == "hard"
    assert "soft is not distinguishable from it" in reason
    assert choose_sharing(ways, tolerance=0.005)[0] == choose_sharing(ways)[0] == "soft"


def test_one_replicate_shows_nothing():
    ways = {"hard": np.zeros(1), "soft": np.ones(1)}
    once = [MeasuredSharing(name, gains, gains) for name, gains in ways.items()]
    assert choose_sharing(once)[0] == "hard"


def test_the_choice_does_not_look_at_test_rows():
    ways = [HARD, MeasuredSharing("soft", -np.ones(5), np.ones(5))]
    assert choose_sharing(ways)[0] == "hard"


def test_the_reason_holds_the_numbers_and_the_veto():
    _, reason = choose_sharing([HARD, way("mmoe", 0.05, veto="its gates sleep"), way("soft", 0.02)])
    assert "mmoe +5.0" in reason
    assert "soft +2.0" in reason
    assert "its gates sleep" in reason


def test_a_plan_takes_what_was_measured_and_calls_the_rest_a_guess():
    matrix = AffinityMatrix(("a", "b", "c", "d", "e"), torch.full((5, 5), 0.5))
    grouping = Grouping((Network.of("a", "b"), Network.of("c", "d"), Network.of("e")))
    measured = {frozenset({"a", "b"}): [HARD, way("mmoe", 0.05)]}
    plan = recommend(matrix, grouping, measured=measured)
    assert plan.sharing == ("mmoe", "hard", "separate")
    assert "Chosen: mmoe" in plan.reasons[0]
    assert "is assumed" not in plan.reasons[0]
    assert "is assumed" in plan.reasons[1]
    assert recommend(matrix, grouping).provenance.sharing_evidence == "assumed, not measured"
