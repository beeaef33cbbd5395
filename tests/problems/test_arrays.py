"""Inputs and targets of any library make the same problem."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from codes import raises

from affinity import Problem

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(80, 3))
Y = np.column_stack([X[:, 0] + RANDOM.normal(size=80), X[:, 1] + RANDOM.normal(size=80)])


@pytest.mark.parametrize(
    "convert",
    [
        lambda values: values,
        lambda values: values.tolist(),
        torch.tensor,
        pd.DataFrame,
        lambda values: pa.table({str(i): values[:, i] for i in range(values.shape[1])}),
        lambda values: np.ma.MaskedArray(values, mask=np.zeros_like(values, dtype=bool)),
    ],
)
def test_arrays_tensors_and_frames_are_the_same(convert):
    problem = Problem.from_arrays(convert(X), convert(Y))
    expected = Problem.from_arrays(X, Y)
    assert len(problem.names) == 2
    assert torch.equal(problem.development.inputs, expected.development.inputs)
    assert torch.equal(problem.test.targets, expected.test.targets)


def test_names_are_kept_and_made_unique():
    frame = pd.DataFrame(X, columns=["a", "a", 7])
    assert Problem.from_arrays(frame, Y).names == ("target 0", "target 1")
    problem = Problem.from_arrays(frame, pd.DataFrame(Y, columns=["a", 7]), kinds={1: "regression"})
    assert problem.names == ("a", "7")
    names = {column.name for column in problem.source.columns}
    assert names == {"a (input)", "a (2)", "7 (input)", "a", "7"}


def test_mappings_name_tasks_and_make_vectors():
    problem = Problem.from_arrays(X, {"place": Y, "late": Y[:, 0] > 0, "when": pd.Series(Y[:, 1])})
    assert problem.names == ("place", "late", "when")
    assert problem.source.kinds == {"place": "vector", "late": "binary", "when": "regression"}


def test_targets_may_be_columns_of_the_inputs():
    frame = pd.DataFrame(np.hstack([X, Y]), columns=list("abcde"))
    assert Problem.from_arrays(frame, ["d", "e"]).names == ("d", "e")


def test_missing_labels_weights_and_groups_are_taken():
    labels = Y.copy()
    labels[::4, 0] = np.nan
    options = {"groups": np.arange(80) // 2, "sample_weight": np.arange(80) + 1.0}
    problem = Problem.from_arrays(X, labels, **options)
    assert problem.development.targets.isnan().any(dim=0).tolist() == [True, False]
    assert problem.development.groups is not None
    assert problem.development.weights is not None


def test_what_does_not_fit_is_refused():
    with raises("rows-differ"):
        Problem.from_arrays(X, Y[:-1])
    with raises("too-few-tasks"):
        Problem.from_arrays(X, Y[:, 0])
    with raises("not-a-table"):
        Problem.from_arrays(np.zeros((80, 3, 3)), Y)
    with raises("rows-in-another-order"):
        Problem.from_arrays(pd.DataFrame(X), pd.DataFrame(Y)[::-1])
    with raises("missing-column"):
        Problem.from_arrays(pd.DataFrame(X, columns=list("abc")), ["a", "d"])
