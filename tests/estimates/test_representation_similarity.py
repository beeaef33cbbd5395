"""Similarity of representations is blind to rotation and scale, and to nothing else."""

import pytest
import torch
from codes import raises

from affinity import TrainingSettings
from affinity.estimates import RepresentationSimilarity, separate_representations
from affinity.problems import planted


def test_rotation_and_scale_do_not_matter_and_a_line_does():
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(500, 4, generator=generator)
    rotation, _ = torch.linalg.qr(torch.randn(4, 4, generator=generator))
    other = torch.randn(500, 6, generator=generator)
    matrix = RepresentationSimilarity()(
        {"one": rows, "turned": 5 * rows @ rotation + 3, "other": other}
    )
    assert matrix.between("one", "turned") == pytest.approx(1.0, abs=1e-5)
    assert matrix.between("one", "other") < 0.05
    torch.testing.assert_close(matrix.values, matrix.values.T)


def test_half_shared_features_are_half_alike():
    generator = torch.Generator().manual_seed(0)
    rows = torch.linalg.qr(torch.randn(400, 6, generator=generator))[0]
    rows = rows - rows.mean(dim=0)
    matrix = RepresentationSimilarity()({"one": rows[:, :4], "two": rows[:, 2:]})
    assert matrix.between("one", "two") == pytest.approx(0.5, abs=0.02)


def test_replicates_are_averaged_with_an_error():
    each = [{"a": torch.randn(50, 3), "b": torch.randn(50, 3)} for _ in range(4)]
    matrix = RepresentationSimilarity()(each)
    singles = [RepresentationSimilarity()(one).between("a", "b") for one in each]
    assert matrix.between("a", "b") == pytest.approx(sum(singles) / 4)
    assert matrix.standard_error[0, 1] > 0
    assert matrix.standard_error[0, 0] < 1e-6


def test_other_rows_are_refused_and_a_dead_network_is_missing():
    with raises("different-rows"):
        RepresentationSimilarity()({"a": torch.ones(3, 2), "b": torch.ones(4, 2)})
    matrix = RepresentationSimilarity()({"a": torch.randn(9, 2), "b": torch.ones(9, 2)})
    assert matrix.values[0, 1].isnan()


def test_separate_networks_are_those_of_the_replicate():
    settings = TrainingSettings(epochs=2, batch_size=32)
    problem = planted(n_clusters=1, tasks_per_cluster=2, n_rows=80).with_settings(settings)
    first, second = separate_representations(problem, replicates=2, seed=3)
    assert first["a1"].shape == (16, 8)
    assert not torch.equal(first["a1"], second["a1"])
    assert not torch.equal(first["a1"], first["a2"])
    assert torch.equal(first["a1"], separate_representations(problem, seed=3)[0]["a1"])
