"""Planted clusters are what they say: measured by training."""

import pytest
import torch
from codes import raises

from affinity.estimates import measured_gains
from affinity.problems import planted, train_networks


def test_tasks_of_a_cluster_share_their_directions_and_others_do_not():
    """The squares of a direction's inputs go with its targets: what a line cannot show."""
    problem = planted(n_rows=20_000, test_share=0.01, tasks_per_cluster=2, n_clusters=2)
    inputs, targets = problem.development.inputs, problem.development.targets
    centred = targets - targets.mean(dim=0)
    seen = torch.einsum("rf,rg,rt->tfg", inputs, inputs, centred) / len(inputs)
    spaces = [torch.linalg.eigh(each) for each in seen]
    bases = [vectors[:, values.abs().argsort(descending=True)[:2]] for values, vectors in spaces]

    def overlap(one, other):
        return torch.linalg.matrix_norm(bases[one].T @ bases[other]).square().item() / 2

    assert problem.names == ("a1", "a2", "b1", "b2")
    assert min(overlap(0, 1), overlap(2, 3)) > 0.9
    assert max(overlap(0, 2), overlap(1, 3)) < 0.4
    assert (inputs.T @ centred / len(inputs)).abs().max() < 0.05


def test_the_same_seed_is_the_same_problem_and_another_is_another():
    first, again, other = planted(seed=1), planted(seed=1), planted(seed=2)
    assert torch.equal(first.development.targets, again.development.targets)
    assert not torch.equal(first.development.targets, other.development.targets)
    assert (len(first.development), len(first.test)) == (400, 1600)
    assert first.of_width(4).width == 4


def test_settings_out_of_range_are_told():
    with raises("out-of-range"):
        planted(strength=1.5)
    with raises("out-of-range"):
        planted(n_clusters=27)
    with raises("invalid-share"):
        planted(test_share=1.0)


def mean_gains(strength):
    """Measured on test rows: of the clusters, of as many groups with one task of each."""
    problem = planted(strength)
    names = problem.names
    clusters = [frozenset(names[at : at + 3]) for at in (0, 3, 6)]
    mixed = [frozenset(names[at::3]) for at in range(3)]
    alone = [frozenset({name}) for name in names]
    measured = train_networks(problem, [*clusters, *mixed, *alone], problem.replicates(3))
    measured.evaluation_loss.copy_(measured.test_loss)  # many rows, so that few replicates do
    gains = measured_gains(measured)
    return gains[:3].nanmean().item(), gains[3:6].nanmean().item()


@pytest.mark.slow
def test_sharing_helps_within_clusters_and_harms_across():
    within, across = mean_gains(1.0)
    assert within > 0.15
    assert across < 0.05


@pytest.mark.slow
def test_where_nothing_is_planted_no_grouping_is_special():
    within, across = mean_gains(0.0)
    assert within < 0.1
    assert abs(within - across) < 0.15
