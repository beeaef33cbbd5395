"""Losses and metrics leave rows without a label out."""

import math

import numpy as np
import pytest
import torch
from codes import raises
from torch.nn import functional

from affinity.tasks import (
    Accuracy,
    BinaryCrossEntropy,
    CrossEntropy,
    Examples,
    RocAuc,
    RSquared,
    SquaredError,
)

KINDS = {
    "binary": (BinaryCrossEntropy(), RocAuc(), 1, [0.0, 1.0, 1.0, 0.0, 1.0]),
    "classes": (CrossEntropy(), Accuracy(), 3, [0.0, 1.0, 2.0, 2.0, 1.0]),
    "regression": (SquaredError(), RSquared(), 1, [0.5, -1.0, 2.0, 0.0, 1.0]),
}


@pytest.fixture(params=KINDS)
def kind(request):
    loss, metric, n_outputs, labels = KINDS[request.param]
    prediction = torch.randn(5, n_outputs, generator=torch.Generator().manual_seed(0))
    return loss, metric, prediction, torch.tensor(labels)


def test_a_missing_label_is_as_good_as_no_row(kind):
    loss, metric, prediction, target = kind
    more = torch.cat([prediction, torch.full((2, prediction.shape[1]), 7.0)])
    gaps = torch.cat([target, torch.tensor([torch.nan, torch.nan])])
    assert torch.equal(loss(more, gaps), loss(prediction, target))
    assert metric(more, gaps) == metric(prediction, target)


def test_a_missing_label_sends_no_gradient(kind):
    loss, _, prediction, target = kind
    prediction = prediction.clone().requires_grad_()
    target = target.clone()
    target[2] = torch.nan
    loss(prediction, target).backward()
    assert torch.all(prediction.grad[2] == 0)
    assert torch.all(prediction.grad[[0, 1, 3, 4]].abs().sum(dim=1) > 0)


def test_without_any_label_the_loss_is_zero_and_the_metric_undefined(kind):
    loss, metric, prediction, target = kind
    nothing = torch.full_like(target, torch.nan)
    assert loss(prediction, nothing).item() == 0
    assert math.isnan(metric(prediction, nothing))


def test_losses_are_those_of_torch():
    logits, label = torch.tensor([[0.3], [-2.0]]), torch.tensor([1.0, 0.0])
    expected = functional.binary_cross_entropy_with_logits(logits[:, 0], label)
    assert torch.allclose(BinaryCrossEntropy()(logits, label), expected)
    expected = functional.mse_loss(logits[:, 0], label)
    assert torch.allclose(SquaredError()(logits, label), expected)


def test_metrics_are_undefined_where_labels_do_not_vary():
    assert math.isnan(RocAuc()(torch.zeros(3, 1), torch.ones(3)))
    assert math.isnan(RSquared()(torch.zeros(3, 1), torch.ones(3)))


@pytest.mark.parametrize("inputs", [["a", "b"], {"ids": torch.zeros(2, 1)}, np.zeros((2, 1))])
def test_inputs_that_are_no_tensor_are_refused(inputs):
    examples = object.__new__(Examples)  # tests check the types of arguments, users' programs don't
    fields = {"inputs": inputs, "targets": torch.zeros(2, 1), "groups": None, "weights": None}
    for name, value in fields.items():
        object.__setattr__(examples, name, value)
    with raises("not-a-tensor"):
        examples.__post_init__()
