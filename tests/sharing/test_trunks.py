"""Trunks: laws that every kind keeps, and classes of one's own."""

import pytest
import torch
from codes import raises
from torch import Tensor, nn

from affinity.problems import NetworkTrainer, planted
from affinity.sharing import TRUNKS, find_trunk
from affinity.training import Job, TrainingSettings

PROBLEM = planted(n_rows=200, n_features=6, n_clusters=1, width=8, depth=2).with_settings(
    TrainingSettings(epochs=2, batch_size=32)
)


class Gated(nn.Module):
    """A trunk of one's own."""

    def __init__(self, n_features: int, width: int, depth: int) -> None:
        super().__init__()
        self.value, self.gate = nn.Linear(n_features, width), nn.Linear(n_features, width)
        self.depth = depth

    def forward(self, inputs: Tensor) -> Tensor:
        return self.value(inputs) * self.gate(inputs).sigmoid()


KINDS = [*TRUNKS, f"{__name__}:Gated"]


def skip_without_library(kind: str) -> None:
    if kind == "ft-transformer":
        pytest.importorskip("rtdl_revisiting_models")


@pytest.mark.parametrize("kind", KINDS)
def test_every_trunk_has_the_width_that_is_asked_for(kind: str) -> None:
    skip_without_library(kind)
    for width, depth in ((5, 1), (8, 3)):
        trunk = find_trunk(kind)(6, width, depth)
        assert trunk(torch.randn(4, 6)).shape == (4, width)
    narrow, wide = (find_trunk(kind)(6, width, 2) for width in (8, 32))
    assert sum(map(torch.numel, narrow.parameters())) < sum(map(torch.numel, wide.parameters()))


@pytest.mark.parametrize("kind", KINDS)
def test_every_trunk_is_trained_with_others_at_once(kind: str) -> None:
    skip_without_library(kind)
    names = PROBLEM.names
    jobs = [Job(name, frozenset({name, names[0]}), seed=0) for name in names[1:]]
    for result in NetworkTrainer(PROBLEM.with_trunk(kind), keep=True)(jobs):
        assert result.network is not None
        assert result.network.unbatched_reason is None
        assert all(torch.tensor(list((result.validation or {}).values())).isfinite())


def test_a_class_is_found_by_its_name() -> None:
    problem = PROBLEM.with_trunk(Gated, depth=1)
    assert problem.trunk.kind == f"{__name__}:Gated"
    assert isinstance(problem.trunk(), Gated)
    assert isinstance(problem.of_width(3).trunk(), Gated)


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("tree", "unknown-trunk"),
        ("no_such_module:Trunk", "missing-trunk"),
        (f"{__name__}:Missing", "missing-trunk"),
        (f"{__name__}:skip_without_library", "missing-trunk"),  # no module class
        ("os:system", "missing-trunk"),
        ("torch.nn:ReLU", "trunk-does-not-fit"),  # takes other arguments
        ("torch.nn:Unflatten", "trunk-does-not-fit"),
        ("torch.nn:Bilinear", "trunk-does-not-fit"),
    ],
)
def test_what_is_no_trunk_is_refused(kind: str, code: str) -> None:
    with raises(code):
        PROBLEM.with_trunk(kind)


def test_a_class_within_a_function_is_refused() -> None:
    class Local(Gated):
        pass

    with raises("missing-trunk"):
        PROBLEM.with_trunk(Local)
