"""Affinity matrices, groupings and plans are saved and loaded as objects, whatever the names."""

import pytest
import torch

from affinity import AffinityMatrix, Grouping, Network, Plan, load, save
from affinity.recommendation import PlanProvenance

HOSTILE = [
    ("a b", "a>b", "a/b"),
    ('"quoted"', "it's", "back\\slash"),
    ("é☃", "日本", "\N{ZERO WIDTH SPACE}"),
    ("null", "1", "true"),
    ("{task}", "line\nbreak", "<b>"),
]


@pytest.mark.parametrize("names", HOSTILE)
@pytest.mark.parametrize("has_errors", [False, True])
def test_an_affinity_matrix_is_loaded_as_it_was_saved(names, has_errors, tmp_path):
    values = torch.tensor([[0.0, 0.5, -0.25], [float("nan"), 0.0, 1e-12], [1.0, 2.0, 0.0]])
    errors = torch.full((3, 3), 0.125) if has_errors else None
    matrix = AffinityMatrix(names, values, standard_error=errors, estimator="x > 'y'")
    again = load(save(matrix, tmp_path / "matrix.safetensors"))
    assert type(again) is AffinityMatrix
    assert (again.tasks, again.estimator, again.n_steps) == (names, "x > 'y'", None)
    torch.testing.assert_close(again.values, values, rtol=0, atol=0, equal_nan=True)
    assert (again.standard_error is None) == (not has_errors)
    if has_errors:
        assert again.standard_error.equal(errors)


@pytest.mark.parametrize("names", HOSTILE)
def test_groupings_and_plans_are_loaded_as_they_were_saved(names, tmp_path):
    first, *others = names
    helped = Network(frozenset(names), frozenset(others), variant="half > size")
    grouping = Grouping((Network.of(first), helped), 0.1, 0.30000000000000004, "x", 2.5, 1.5)
    again = load(save(grouping, tmp_path / "grouping.safetensors"))
    assert again == grouping
    assert again.networks[1].variant == "half > size"
    provenance = PlanProvenance("x", "measured", expected_gain=(0.1, -0.1, 0.2), budget=2)
    plan = Plan(grouping, ("separate", "hard"), ("#1: 'x'", 'a "b"\n'), provenance, width=8)
    loaded = load(save(plan, tmp_path / "plan.safetensors"))
    assert loaded == plan
    assert loaded.provenance == provenance
    assert Plan.from_yaml(plan.to_yaml()).provenance == provenance
