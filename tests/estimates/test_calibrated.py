"""Calibrated gains: what they learn from a few groups, and when they fall back."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from codes import raises
from torch import Tensor

from affinity.estimates import AffinityMatrix, CalibratedGains, measured_gains
from affinity.grouping import all_groups
from affinity.problems import TrainingResults

TASKS = ("a", "b", "c", "d", "e", "f")
ALONE = [frozenset({task}) for task in TASKS]
GROUPS = torch.from_numpy(all_groups(len(TASKS)))


def _gain(onto: Tensor, group: Tensor) -> Tensor:
    """The mean of what the partners do to each task of a group."""
    others = group.double()
    return (others @ onto - onto.diagonal()) / max(1.0, others.sum().item() - 1) * others


def _measured(
    networks, onto, noise=0.0, replicates=1, seed=0, per_task=0.0, luck=0.0
) -> TrainingResults:
    generator = torch.Generator().manual_seed(seed)
    losses = torch.full((len(networks), replicates, len(TASKS)), torch.nan, dtype=torch.double)
    rows = torch.randn(replicates, len(TASKS), generator=generator, dtype=torch.double)
    for number, network in enumerate(networks):
        group = torch.tensor([task in network for task in TASKS])
        gain = _gain(onto, group) + per_task * (group.sum() - 1)
        error = torch.randn(replicates, len(TASKS), generator=generator, dtype=torch.double)
        if luck:  # of the training, in common to its tasks
            of_all = torch.randn(replicates, 1, generator=generator, dtype=torch.double)
            error = error + luck / noise * of_all
        losses[number][:, group] = (2 * (1 - gain + 0.1 * rows + noise * error))[:, group]
    return TrainingResults.from_losses(networks, TASKS, losses)


def _random_groups(count: int, seed: int = 0) -> list[frozenset[str]]:
    generator = np.random.default_rng(seed)
    shared = [group for group in GROUPS.numpy() if group.sum() > 1]
    chosen = generator.choice(len(shared), count, replace=False)
    return [frozenset(np.array(TASKS)[shared[at]].tolist()) for at in chosen]


def _onto(seed: int = 0, scale: float = 0.1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    onto = scale * torch.randn(len(TASKS), len(TASKS), generator=generator, dtype=torch.double)
    return onto.fill_diagonal_(0.0)


def _truth(onto: Tensor) -> Tensor:
    return torch.stack([_gain(onto, group) for group in GROUPS])


def _correlation(predicted: Tensor, truth: Tensor) -> float:
    shared = GROUPS & (GROUPS.sum(dim=1) > 1)[:, None]
    return float(torch.corrcoef(torch.stack([predicted[shared], truth[shared]]))[0, 1])


def test_unmeasured_groups_are_foretold_from_measured_ones():
    onto = _onto()
    predicted = CalibratedGains()(_measured([*ALONE, *_random_groups(24)], onto, noise=0.01))
    assert _correlation(predicted.mean(GROUPS), _truth(onto)) > 0.9


def test_losses_below_0_have_the_gains_of_the_same_losses_above_0():
    above = _measured([*ALONE, *_random_groups(24)], _onto(), noise=0.01)
    alone = above.evaluation_loss[: len(TASKS), 0].diagonal()
    below = replace(above, evaluation_loss=above.evaluation_loss - 2 * alone)  # alone is now -alone
    torch.testing.assert_close(measured_gains(below), measured_gains(above), equal_nan=True)
    predicted = [CalibratedGains()(each).mean(GROUPS) for each in (above, below)]
    assert _correlation(*predicted) > 0.95


def test_an_affinity_counts_with_the_sign_that_it_has_here():
    onto = _onto(seed=1)
    few = _measured([*ALONE, *_random_groups(5)], onto, noise=0.01)
    against = AffinityMatrix(TASKS, -onto, estimator="reversed")
    without = _correlation(CalibratedGains()(few).mean(GROUPS), _truth(onto))
    reversed_ = _correlation(CalibratedGains()(few, [against]).mean(GROUPS), _truth(onto))
    assert reversed_ > 0.9 > without


def test_branches_count_as_far_as_they_foretell_full_trainings():
    onto = _onto(seed=4)
    few = _measured([*ALONE, *_random_groups(5)], onto, noise=0.01)
    groups = [*ALONE, *_random_groups(40, seed=1)]
    half_as_far = _measured(groups, onto / 2, noise=0.01, seed=1)
    the_other_way = _measured(groups, -onto, noise=0.01, seed=1)
    of_chance = _measured(groups, _onto(seed=5), noise=0.01, seed=1)
    without = _correlation(CalibratedGains()(few).mean(GROUPS), _truth(onto))

    def with_(early: TrainingResults) -> float:
        branches = {"branches": CalibratedGains()(early)}
        found = CalibratedGains()(few, predictors=branches)
        assert "predictor: branches" in found.variances
        return _correlation(found.mean(GROUPS), _truth(onto))

    assert with_(half_as_far) > 0.85 > without
    assert with_(the_other_way) > 0.85
    assert with_(of_chance) > without - 0.15


def test_an_affinity_that_foretells_nothing_counts_for_little():
    onto = _onto(seed=2)
    many = _measured([*ALONE, *_random_groups(30)], onto, noise=0.01)
    chance = AffinityMatrix(TASKS, _onto(seed=3), estimator="chance")
    without = _correlation(CalibratedGains()(many).mean(GROUPS), _truth(onto))
    with_it = _correlation(CalibratedGains()(many, [chance]).mean(GROUPS), _truth(onto))
    assert with_it > without - 0.02


def test_where_only_size_matters_size_is_learned():
    nothing = torch.zeros(len(TASKS), len(TASKS), dtype=torch.double)
    networks = [*ALONE, *_random_groups(12)]
    predicted = CalibratedGains()(_measured(networks, nothing, noise=0.01, per_task=-0.05))
    mean = predicted.mean(GROUPS).nanmean(dim=1)
    of_size = [mean[GROUPS.sum(dim=1) == size].mean().item() for size in range(1, 7)]
    assert of_size == sorted(of_size, reverse=True)
    assert of_size[-1] == pytest.approx(-0.25, abs=0.04)


def test_a_task_alone_gains_nothing_for_sure():
    predicted = CalibratedGains()(_measured([*ALONE, *_random_groups(8)], _onto(), noise=0.05))
    alone = GROUPS[GROUPS.sum(dim=1) == 1]
    assert predicted.mean(alone).nan_to_num().abs().max() < 1e-9
    assert predicted.standard_deviation(alone).nan_to_num().max() < 1e-4


def test_intervals_hold_what_they_promise():
    covered = []
    for seed in range(12):
        onto = _onto(seed)
        networks = [*ALONE, *_random_groups(10, seed)]
        predicted = CalibratedGains()(_measured(networks, onto, noise=0.05, seed=seed))
        off = (predicted.mean(GROUPS) - _truth(onto)) / predicted.standard_deviation(GROUPS)
        shared = GROUPS & (GROUPS.sum(dim=1) > 1)[:, None]
        covered.append((off[shared].abs() < 1.96).double().mean().item())
    assert 0.85 < np.mean(covered) < 0.995


def test_what_groups_are_worth_stays_open_where_all_tasks_of_a_training_are_lucky_together():
    covered = []
    for seed in range(6):
        onto = _onto(seed)
        networks = [*ALONE, *_random_groups(10, seed)]
        measured = _measured(networks, onto, noise=0.02, luck=0.1, seed=seed)
        shared = GROUPS[GROUPS.sum(dim=1) > 2]
        drawn = CalibratedGains()(measured).draw_totals(shared, 200)
        truth = torch.stack([_gain(onto, group).sum() for group in shared])
        off = (drawn.mean(dim=0) - truth) / drawn.std(dim=0)
        covered.append((off.abs() < 1.96).double().mean().item())
    assert 0.9 < np.mean(covered) < 0.995  # 0.85 if it is not known


def test_replicates_that_differ_in_rows_are_compared_fairly():
    onto = _onto(seed=4)
    groups = _random_groups(12, seed=4)
    losses = _measured([*ALONE, *groups], onto, noise=0.005, replicates=2)
    # Half of the groups on rows that make everything worse: they must not look worse for it.
    losses.evaluation_loss[:, 1] *= 1.5
    losses.evaluation_loss[len(ALONE) : len(ALONE) + 6, 0] = torch.nan
    losses.evaluation_loss[len(ALONE) + 6 :, 1] = torch.nan
    predicted = CalibratedGains()(losses)
    measured = torch.tensor([[task in group for task in TASKS] for group in groups])
    truth = torch.stack([_gain(onto, group) for group in measured])
    off = (predicted.mean(measured) - truth)[measured]
    assert off.abs().mean() < 0.06


def test_reordering_the_tasks_reorders_the_predictions():
    onto, order = _onto(), [3, 0, 5, 1, 4, 2]
    networks = [*ALONE, *_random_groups(10)]
    measured = _measured(networks, onto, noise=0.02)
    turned = TrainingResults(
        **{
            **vars(measured),
            "tasks": tuple(TASKS[at] for at in order),
            "evaluation_loss": measured.evaluation_loss[:, :, order],
        }
    )
    one = CalibratedGains()(measured).mean(GROUPS)[:, order]
    other = CalibratedGains()(turned).mean(GROUPS[:, order])
    torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4, equal_nan=True)


def test_a_task_without_losses_is_named():
    with raises("task-not-measured"):
        CalibratedGains()(_measured([*ALONE[:-1], frozenset({"a", "b"})], _onto()))


def test_groups_can_be_told_apart_where_a_task_was_never_alone():
    onto = _onto()
    predicted = CalibratedGains()(_measured([*ALONE[1:], *_random_groups(30)], onto, noise=0.01))
    column = GROUPS[:, 0] & (GROUPS.sum(dim=1) > 1)
    found, truth = predicted.mean(GROUPS)[column, 0], _truth(onto)[column, 0]
    assert torch.corrcoef(torch.stack([found, truth]))[0, 1] > 0.9
