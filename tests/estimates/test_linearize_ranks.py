"""Two gloo processes that each hold a part of every data set linearize as one does."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from codes import warns
from processes import WORLD, check, spawn
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import affinity
from affinity.estimates import Linearization

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (dist.is_available() and dist.is_gloo_available()), reason="needs gloo"),
]


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 1)).double()


def data(seed: int) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """The second process has no row of the second data set."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(2, 24, 4, generator=generator).double()
    return {
        "sum": (inputs[0], inputs[0].sum(dim=1)),
        "difference": (inputs[1], inputs[1, :, 0] - inputs[1, :, 1]),
    }


def linearized(network: nn.Module, part: Any, held_out: Any, **keep: Any) -> Linearization:
    return affinity.linearize(
        network,
        {name: [batch] for name, batch in part.items()},
        {name: [batch] for name, batch in held_out.items()},
        loss="squared error",
        dimensions=20,
        rows=None,
        **keep,
    )


def parts_of(whole: Any, rank: int) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    start, end = (0, 10) if rank == 0 else (10, 24)
    parts = {name: (x[start:end], y[start:end]) for name, (x, y) in whole.items()}
    all_or_none = whole["difference"] if rank == 0 else tuple(v[:0] for v in whole["difference"])
    return {**parts, "difference": all_or_none}


def a_part_each(rank: int, folder: Path) -> None:
    network = DistributedDataParallel(model())
    keep = {"gradients": folder / "gradients", "bits": 8}
    made = linearized(network, parts_of(data(0), rank), parts_of(data(1), rank), **keep)
    affinity.save(made, folder / f"{rank}.safetensors")


def a_row_that_another_rank_trains_on(rank: int, folder: Path) -> None:
    del folder
    train = parts_of(data(0), rank)
    with warns("shared-rows"):
        found = linearized(model(), train, parts_of(data(0), 1 - rank))
    assert found.shared_rows == {"sum": 24, "difference": 24}


def test_all_processes_get_the_statistics_of_the_whole(tmp_path: Path) -> None:
    spawn(tmp_path, [a_part_each, a_row_that_another_rank_trains_on])
    check(tmp_path, a_part_each)
    check(tmp_path, a_row_that_another_rank_trains_on)
    whole = linearized(model(), data(0), data(1))
    for rank in range(WORLD):
        made = affinity.load(tmp_path / f"{rank}.safetensors")
        assert made.training.n_rows.tolist() == [24, 24]
        for one, other in ((made.training, whole.training), (made.held_out, whole.held_out)):
            torch.testing.assert_close(one.gradients, other.gradients)
            torch.testing.assert_close(one.curvatures, other.curvatures)
        assert made.losses(["sum"]) == pytest.approx(whole.losses(["sum"]))
        every = made.with_rows(tmp_path / "gradients", {"sum": range(24), "difference": range(24)})
        assert every.training.n_rows.tolist() == [24, 24]
        torch.testing.assert_close(
            every.training.gradients, whole.training.gradients, rtol=0.02, atol=0.02
        )
    linearized(model(), data(0), data(1), gradients=tmp_path / "gradients").with_rows(
        tmp_path / "gradients",
        {"sum": range(5)},  # those of the second process are gone
    )
