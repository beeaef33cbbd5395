"""Architectures: trunks of other widths, depths and kinds, compared on selection rows."""

from dataclasses import replace

import pytest
import torch
from codes import raises
from torch import nn

from affinity.problems import planted
from affinity.sharing import Perceptron
from affinity.training import TrainingSettings
from affinity.transfer import (
    Architecture,
    choose_recipe,
    learn_sources,
    measure_transfer,
    with_architectures,
)

PROBLEM = planted(n_rows=400, n_features=6, n_clusters=1, width=8, depth=1).with_settings(
    TrainingSettings(epochs=40, batch_size=32, learning_rate=0.01)
)


@pytest.mark.parametrize("text", ["", "64", "64x", "x2", "0x2", "64x0", "64x2x2"])
def test_what_is_no_architecture_is_refused(text: str) -> None:
    with raises("invalid-architecture"):
        Architecture.parse(text)


def test_an_unknown_kind_is_refused() -> None:
    with raises("unknown-trunk"):
        Architecture.parse("tree:64x2")


@pytest.mark.parametrize("text", ["64x2", "residual:8x3"])
def test_an_architecture_is_read_as_it_is_written(text: str) -> None:
    assert str(Architecture.parse(text)) == text


def test_a_problem_gets_trunks_of_each_architecture() -> None:
    problems = with_architectures(PROBLEM, ["8x1", "6x2", "residual:6x2"])
    assert list(problems) == ["", "6x2", "residual:6x2"]  # 8x1 is its own
    for name, depth, width in (("", 1, 8), ("6x2", 2, 6), ("residual:6x2", 2, 6)):
        trunk = problems[name].trunk()
        assert len(trunk) == depth
        assert trunk(torch.zeros(3, 6)).shape == (3, width)
    own = replace(PROBLEM, parts=lambda _: (PROBLEM.trunk, PROBLEM.head))
    with raises("fixed-architecture"):
        with_architectures(own, ["6x2"])


def test_a_residual_layer_adds_its_output_to_its_input() -> None:
    trunk = Perceptron(3, width=5, depth=3, residual=True)
    inputs = torch.randn(4, 3)
    for layer in list(trunk)[1:]:
        for parameter in layer.parameters():
            nn.init.zeros_(parameter)
    torch.testing.assert_close(trunk(inputs), trunk[0](inputs))


def test_the_trunk_with_the_lowest_loss_on_selection_rows_is_chosen() -> None:
    splits, measured = PROBLEM.replicates(3), {}
    for name, problem in with_architectures(PROBLEM, ["1x1", "residual:16x2"]).items():
        sources = learn_sources(problem, splits, ["a1"], targets=["a2", "a3"])
        measured[name] = measure_transfer(problem, None, sources, targets=["a2", "a3"])
    choice = choose_recipe(measured)
    losses = torch.stack([each.tuned.evaluation.mean(dim=1)[0] for each in measured.values()])
    names = list(measured)
    assert choice.chosen == tuple(names[row] for row in losses.argmin(dim=0).tolist())
    assert "1x1" not in choice.chosen  # the directions of |x v| do not fit into one unit
    scratch = torch.stack([each.scratch.evaluation.mean(dim=1)[0] for each in measured.values()])
    assert (choice.transfer.scratch.evaluation.mean(dim=1)[0] <= scratch.max(dim=0).values).all()
