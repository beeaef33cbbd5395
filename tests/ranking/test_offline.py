"""Offline comparison: unbiased on a simulation with known values, with intervals that cover."""

import numpy as np
import pytest
import torch
from codes import raises, warns

from affinity.ranking import CascadeClicks, PositionClicks, compare_rankers, positions_by_score

EXAMINATION = (1.0, 0.5, 0.25, 0.125)


def lists_of(n_lists: int, seed: int, clicks=None):
    """Lists of 4 in random order; users have tastes, so that their lists are not independent."""
    generator = torch.Generator().manual_seed(seed)
    lists = torch.arange(n_lists).repeat_interleave(4)
    users = lists // 8
    taste = torch.rand(int(users.max()) + 1, generator=generator)[users]
    attraction = (0.6 * torch.rand(len(lists), generator=generator) + 0.4 * taste).clamp(0, 1)
    positions = positions_by_score(torch.zeros(len(lists)), lists, seed)
    reward = (clicks or PositionClicks(EXAMINATION))(attraction, lists, positions, seed)
    noise = torch.rand(len(lists), generator=generator)
    good, bad = attraction + 0.3 * noise, noise
    return {"lists": lists, "positions": positions, "users": users}, reward, attraction, good, bad


def true_value(scores, attraction, lists, clicks=None) -> float:
    positions = positions_by_score(scores, lists)
    draws = [
        (clicks or PositionClicks(EXAMINATION))(attraction, lists, positions, seed).mean().item()
        for seed in range(20)
    ]
    return float(np.mean(draws))


@pytest.mark.parametrize("estimator", ["ips", "replay"])
def test_values_equal_those_of_the_rankers(estimator):
    rows, reward, attraction, good, bad = lists_of(8000, seed=1)
    result = compare_rankers(good, bad, reward, **rows, estimator=estimator)
    for value, scores in ((result.candidate, good), (result.production, bad)):
        assert value == pytest.approx(true_value(scores, attraction, rows["lists"]), rel=0.04)
    assert result.verdict == "beneficial"
    assert compare_rankers(bad, good, reward, **rows, estimator=estimator).verdict == "harmful"


def test_intervals_cover_the_true_gain():
    covered = []
    for seed in range(40):
        rows, reward, attraction, good, bad = lists_of(600, seed)
        result = compare_rankers(good, bad, reward, **rows)
        new, old = (true_value(s, attraction, rows["lists"]) for s in (good, bad))
        covered.append(result.low < new / old - 1 < result.high)
    assert np.mean(covered) >= 0.85


def test_the_first_position_is_unbiased_in_a_cascade():
    clicks = CascadeClicks(after_click=0.1, otherwise=0.9)
    rows, reward, attraction, good, bad = lists_of(8000, 2, clicks)
    first = compare_rankers(good, bad, reward, **rows, top=1)
    for value, scores in ((first.candidate, good), (first.production, bad)):
        top = positions_by_score(scores, rows["lists"]) == 1
        assert value == pytest.approx(attraction[top].mean().item(), rel=0.04)


def test_equal_rankers_are_neutral_and_noise_is_undecided():
    rows, reward, _, good, bad = lists_of(8000, 3)
    same = compare_rankers(good, good.clone(), reward, **rows)
    assert (same.verdict, same.gain, same.p_value) == ("neutral", 0.0, 1.0)
    rows, reward, _, good, bad = lists_of(100, 3)
    assert compare_rankers(bad, bad.flip(0), reward, **rows).verdict == "undecided"


def test_constant_scores_do_not_take_the_logged_order():
    """Ties in the logged order would give every impression a match, and production's own clicks."""
    rows, reward, _, good, _ = lists_of(2000, 4)
    result = compare_rankers(torch.zeros(8000), good, reward, **rows)
    assert 0.2 < result.matches[0] / 8000 < 0.3
    assert result.verdict == "harmful"


def test_given_propensities_correct_a_known_order():
    """Half of the lists are in production's order, the others are random."""
    rows, _, attraction, good, bad = lists_of(16_000, 5)
    is_sorted = (rows["lists"] % 2 == 0).double()
    ranked = positions_by_score(bad, rows["lists"])
    positions = ranked.where(is_sorted > 0, rows["positions"])
    reward = PositionClicks(EXAMINATION)(attraction, rows["lists"], positions, 7)
    propensity = 0.5 * (ranked == positions) + 0.5 / 4
    rows["positions"] = positions
    result = compare_rankers(good, bad, reward, **rows, propensities=propensity)
    expected = true_value(bad, attraction, rows["lists"])
    assert result.production == pytest.approx(expected, rel=0.04)
    with warns("order-not-random"):
        compare_rankers(good, bad, reward, **rows)


def test_what_cannot_be_compared_is_refused():
    rows, reward, _, good, bad = lists_of(50, 6)
    with raises("unknown-estimator"):
        compare_rankers(good, bad, reward, **rows, estimator="dr")
    with raises("missing-reward"):
        compare_rankers(good, bad, reward * torch.nan, **rows)
    with raises("incomplete-list"):
        compare_rankers(good, bad, reward, **{**rows, "positions": rows["positions"] + 1})
    with raises("invalid-propensity"):
        compare_rankers(good, bad, reward, **rows, propensities=torch.zeros(200))
    with warns("too-few-to-judge"):
        result = compare_rankers(good, bad, reward, **rows)
    assert result.verdict == "undecided"
    for setting in ({"top": 0}, {"tolerance": -0.1}, {"level": 95}):
        with raises("out-of-range"):
            compare_rankers(good, bad, reward, **rows, **setting)
    with raises("rows-differ"):
        compare_rankers(good, bad, reward, **{**rows, "users": rows["users"][1:]})
    with raises("rows-differ"):
        compare_rankers(good, bad[:, None], reward, **rows)
    with raises("not-a-tensor"):
        compare_rankers(good, bad.numpy(), reward, **rows)
    two = {name: values[:2] for name, values in rows.items()}
    two["positions"] = torch.tensor([1, 2])
    with raises("no-matches"):
        compare_rankers(torch.tensor([0.0, 1.0]), good[:2], reward[:2], **two)
