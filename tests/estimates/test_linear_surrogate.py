"""The linear surrogate finds what partners do, and no more than the groups show."""

from itertools import combinations

import pytest
import torch
from codes import raises

from affinity.estimates import CandidateGroup, GroupScores, LinearSurrogate
from affinity.grouping import solve

TASKS = tuple("abcdef")
GROUPS = [group for size in (2, 3, 4, 5, 6) for group in combinations(TASKS, size)]


def scores_of(effects, noise=0.0, groups=GROUPS, constant=0.0, per_partner=0.0, seed=0):
    """Gains that are sums over partners, as measured with noise."""
    generator = torch.Generator().manual_seed(seed)
    candidates = []
    for group in groups:
        rows = [TASKS.index(task) for task in group]
        drawn = noise * torch.randn(len(rows), generator=generator)
        candidates.append(
            CandidateGroup(
                {
                    task: float(
                        constant
                        + per_partner * (len(rows) - 1)
                        + effects[rows, row].sum()
                        - effects[row, row]
                        + each
                    )
                    for task, row, each in zip(group, rows, drawn, strict=True)
                }
            )
        )
    return GroupScores(TASKS, tuple(candidates))


def drawn_effects(seed=0):
    return 0.1 * torch.randn(6, 6, generator=torch.Generator().manual_seed(seed))


def test_effects_without_noise_are_found_exactly():
    effects = drawn_effects()
    predictor = LinearSurrogate(strengths=(1e-6, 100.0))(scores_of(effects, constant=0.25))
    assert predictor.strength == 1e-6
    torch.testing.assert_close(predictor.explained, torch.ones(6).double())
    expected = (effects + 0.25).fill_diagonal_(0.0).double()
    torch.testing.assert_close(predictor.matrix().values, expected, rtol=0, atol=1e-5)


def test_predicted_groups_are_those_that_were_left_out():
    effects = drawn_effects()
    truth = {c.trained: c.scores for c in scores_of(effects).candidates}
    some = scores_of(effects, groups=GROUPS[::2])
    predictor = LinearSurrogate(strengths=(1e-6,))(some)
    for group in GROUPS:
        assert predictor.gains(group) == pytest.approx(truth[frozenset(group)], abs=1e-4)
    assert predictor.gains({"a"}) == {"a": 0.0}
    assert len(predictor.predict().candidates) == 2**6 - 1


def test_cross_validation_shrinks_noise_and_keeps_effects():
    noise = LinearSurrogate()(scores_of(torch.zeros(6, 6), noise=0.1))
    assert noise.strength >= 30
    assert noise.explained.mean() < 0.1
    signal = LinearSurrogate()(scores_of(drawn_effects(), noise=0.02))
    assert signal.strength <= 3
    assert signal.explained.mean() > 0.8


def test_where_composition_tells_nothing_the_mean_is_left():
    scores = scores_of(torch.zeros(6, 6), noise=0.1, constant=0.5)
    predictor = LinearSurrogate(strengths=(1e9,))(scores)
    mean = torch.tensor([c.scores["a"] for c in scores.candidates if "a" in c.scores]).mean()
    assert predictor.gains({"a", "b", "c"})["a"] == pytest.approx(mean.item(), abs=1e-6)
    assert predictor.explained.abs().max() < 1e-3


def test_the_errors_of_pairs_cover():
    inside = torch.zeros(0)
    for seed in range(6):
        effects = drawn_effects(seed)
        matrix = LinearSurrogate()(scores_of(effects, noise=0.1, seed=seed)).matrix()
        off = ~torch.eye(6, dtype=torch.bool)
        z = (matrix.values - effects)[off] / matrix.standard_error[off]
        inside = torch.cat([inside, (z.abs() < 2).float()])
    assert 0.85 <= inside.mean() <= 0.99


def test_an_effect_of_size_is_told_from_partners():
    scores = scores_of(torch.zeros(6, 6), noise=0.05, per_partner=-0.2)
    with_sizes, without = LinearSurrogate(sizes=True)(scores), LinearSurrogate()(scores)
    torch.testing.assert_close(with_sizes.sizes, torch.full((6,), -0.2).double(), rtol=0, atol=0.03)
    assert with_sizes.strength > without.strength  # no partner is special


def test_reordering_the_tasks_reorders_the_predictions():
    scores = scores_of(drawn_effects(), noise=0.05)
    turned = GroupScores(TASKS[::-1], scores.candidates)
    one, other = LinearSurrogate()(scores).matrix(), LinearSurrogate()(turned).matrix()
    torch.testing.assert_close(one.values, other.values.flip(0, 1))
    torch.testing.assert_close(one.standard_error, other.standard_error.flip(0, 1))


def test_a_plan_can_be_made_of_every_predicted_group():
    effects = torch.full((6, 6), -0.3)
    effects[:3, :3] = effects[3:, 3:] = 0.3
    grouping = solve(LinearSurrogate()(scores_of(effects)).predict(), budget=2)
    assert {network.served for network in grouping.networks} == {
        frozenset("abc"),
        frozenset("def"),
    }


def test_what_cannot_be_fitted_is_told():
    with raises("too-few-groups"):
        LinearSurrogate()(scores_of(drawn_effects(), groups=[tuple(TASKS)] * 2))
    with raises("unknown-task"):
        LinearSurrogate()(scores_of(drawn_effects())).predict([("a", "x")])
    with raises("invalid-setting"):
        LinearSurrogate(strengths=(0.0,))
