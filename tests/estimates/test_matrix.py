"""The affinity matrix keeps names and numbers together."""

from types import SimpleNamespace

import torch
from codes import raises

from affinity import AffinityMatrix


def test_a_matrix_survives_its_table():
    matrix = AffinityMatrix(
        tasks=("b", "a"),
        values=torch.tensor([[0.5, torch.nan], [-0.25, 1.0]]),
        standard_error=torch.tensor([[0.1, torch.nan], [0.2, 0.3]]),
        n_steps=torch.tensor([[4, 0], [4, 4]]),
    )
    again = AffinityMatrix.from_frame(matrix.frame())
    assert again.tasks == matrix.tasks
    torch.testing.assert_close(again.values, matrix.values, equal_nan=True, check_dtype=False)
    torch.testing.assert_close(
        again.standard_error, matrix.standard_error, equal_nan=True, check_dtype=False
    )
    assert torch.equal(again.n_steps, matrix.n_steps)


def test_rows_are_sources():
    matrix = AffinityMatrix(("a", "b"), torch.tensor([[0.0, 1.0], [2.0, 0.0]]))
    assert matrix.between("a", "b") == 1
    assert matrix.to_frame().loc["a", "b"] == 1
    assert matrix.onto("a") == {"b": 2.0}


def test_lists_are_told_how_to_become_tensors():
    # The tests' own check of types would be first; a user's run has none.
    given = SimpleNamespace(
        tasks=("a", "b"), values=[[0.0, 1.0], [1.0, 0.0]], standard_error=None, n_steps=None
    )
    with raises("wrong-type"):
        AffinityMatrix.__post_init__(given)


def test_names_and_shapes_must_fit():
    with raises("wrong-shape"):
        AffinityMatrix(("a", "b"), torch.zeros(3, 3))
    with raises("duplicate-task"):
        AffinityMatrix(("a", "a"), torch.zeros(2, 2))
    with raises("unknown-task"):
        AffinityMatrix(("a", "b"), torch.zeros(2, 2)).onto("c")
    with raises("missing-pair"):
        AffinityMatrix.from_frame(AffinityMatrix(("a", "b"), torch.zeros(2, 2)).frame().head(3))
