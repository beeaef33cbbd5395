"""Networks are trained on the device that is asked for; rows and results stay on the CPU."""

from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from codes import raises
from fake_gpu import GPU, fake_gpu

import affinity
from affinity.problems import Problem, planted
from affinity.problems.train_networks import train_each
from affinity.sharing import SHARINGS
from affinity.tasks import Examples
from affinity.training import (
    GradNorm,
    Member,
    Objective,
    Store,
    Sum,
    TrainedNetwork,
    TrainingSettings,
    make_sampling,
)
from affinity.transfer import measure_transfer

SETTINGS = TrainingSettings(epochs=2, batch_size=32, patience=2)


@pytest.fixture
def on_gpu(monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    for module in (
        "training.loop",
        "training.stack",
        "training.ensemble",
        "transfer.self_supervised",
    ):
        monkeypatch.setattr(f"affinity.{module}.find_device", lambda _: GPU)
    adamw = torch.optim.AdamW  # the stand-in knows no fused kernels
    monkeypatch.setattr(
        torch.optim, "AdamW", lambda *a, **k: adamw(*a, **{**k, "fused": False, "foreach": False})
    )
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda *_: False)
    with fake_gpu():
        yield


@pytest.fixture(scope="module")
def problem() -> Problem:
    return planted(
        n_clusters=2, tasks_per_cluster=2, n_rows=80, n_features=4, depth=2
    ).with_settings(SETTINGS)


def train_two(problem: Problem, sharing: str, settings: TrainingSettings) -> list[TrainedNetwork]:
    members = [Member(frozenset(problem.names), number) for number in range(2)]
    return train_each(
        problem.with_settings(settings), members, problem.replicates(2), sharing=sharing, keep=True
    )


def assert_equal(on_device: TrainedNetwork, on_cpu: TrainedNetwork, rel: float = 1e-4) -> None:
    assert on_device.test_loss == pytest.approx(on_cpu.test_loss, rel=rel)
    assert on_device.test_metric == pytest.approx(on_cpu.test_metric, rel=10 * rel, abs=rel)
    assert on_device.best_epoch == on_cpu.best_epoch
    assert on_device.state is not None
    assert on_device.predictions is not None
    for tensor in (*on_device.state.values(), *on_device.predictions.values()):
        assert type(tensor) is torch.Tensor
        assert tensor.device.type == "cpu"


def test_the_stand_in_refuses_to_mix_devices() -> None:
    with fake_gpu():
        ones = torch.ones(2, device=GPU)
        assert (ones + ones.new_zeros(2)).tolist() == [1.0, 1.0]
        with pytest.raises(RuntimeError, match="same device"):
            ones + torch.zeros(2)


@pytest.mark.parametrize("sharing", SHARINGS)
def test_every_way_to_share_trains_on_the_device(
    problem: Problem, sharing: str, request: pytest.FixtureRequest
) -> None:
    expected = train_two(problem, sharing, SETTINGS)
    request.getfixturevalue("on_gpu")
    tolerance = 0.01 if sharing == "mmoe" else 1e-4  # its gates have other dropout masks
    for on_device, on_cpu in zip(train_two(problem, sharing, SETTINGS), expected, strict=True):
        assert_equal(on_device, on_cpu, tolerance)


@pytest.mark.parametrize(
    "settings",
    [
        replace(SETTINGS, objective=GradNorm()),
        replace(SETTINGS, sampling=make_sampling("uniform")),
    ],
    ids=["GradNorm", "one task per batch"],
)
def test_networks_that_train_one_by_one_do_so_on_the_device(
    problem: Problem, settings: TrainingSettings, request: pytest.FixtureRequest
) -> None:
    expected = train_two(problem, "hard", settings)
    request.getfixturevalue("on_gpu")
    for on_device, on_cpu in zip(train_two(problem, "hard", settings), expected, strict=True):
        assert_equal(on_device, on_cpu)


def test_a_run_is_recorded_on_the_device(problem: Problem, request: pytest.FixtureRequest) -> None:
    expected = affinity.record(problem, every=1, held_out=True).gramians
    request.getfixturevalue("on_gpu")
    gramians = affinity.record(problem, every=1, held_out=True).gramians
    assert gramians is not None
    assert expected is not None
    torch.testing.assert_close(gramians, expected, rtol=1e-3, atol=1e-6)


def test_transfer_is_measured_on_the_device(
    problem: Problem, request: pytest.FixtureRequest
) -> None:
    def gains() -> list[float]:
        transfer = measure_transfer(problem, replicates=2, targets=problem.names[:1])
        return transfer.frame()["gain"].to_list()

    expected = gains()
    request.getfixturevalue("on_gpu")
    assert gains() == pytest.approx(expected, rel=1e-3, abs=1e-4)


def test_the_rows_of_a_problem_are_kept_on_the_cpu(problem: Problem) -> None:
    with fake_gpu():
        rows = Examples(torch.ones(8, 4, device=GPU), torch.ones(8, 4, device=GPU))
        moved = replace(problem, development=rows, test=rows)
    assert type(moved.development.inputs) is torch.Tensor
    assert type(moved.test.targets) is torch.Tensor


def test_a_problem_takes_the_device_of_its_networks(problem: Problem) -> None:
    assert problem.settings.device == "auto"
    assert replace(problem, device="cpu").settings.device == "cpu"


@pytest.mark.parametrize("objective", [Sum(), GradNorm()], ids=repr)
def test_bfloat16_gives_nearly_what_float32_gives(
    problem: Problem, objective: Objective, tmp_path: Path
) -> None:
    settings = replace(SETTINGS, objective=objective, device="cpu")
    low = replace(settings, precision="bfloat16")
    exact, rounded = (train_two(problem, "hard", each)[0] for each in (settings, low))
    assert rounded.test_loss == pytest.approx(exact.test_loss, rel=0.05)
    assert rounded.test_loss != exact.test_loss
    assert rounded.state is not None
    assert {value.dtype for value in rounded.state.values()} == {torch.float32}
    network, (replicate,) = problem.network(), problem.replicates(1)
    keys = {Store(tmp_path).key(network, problem.tasks, replicate, s) for s in (settings, low)}
    assert len(keys) == 2
    with raises("unknown-precision"):
        replace(settings, precision="float16")


@pytest.mark.parametrize(
    ("name", "code"), [("gpu", "unknown-device"), ("cuda:99", "no-device"), ("xpu", "no-device")]
)
def test_devices_that_do_not_exist_are_refused(name: str, code: str) -> None:
    with raises(code):
        TrainingSettings(device=name)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_the_results_of_the_cpu(problem: Problem) -> None:
    for sharing in SHARINGS:
        on_gpu = train_two(problem, sharing, replace(SETTINGS, device="cuda"))
        on_cpu = train_two(problem, sharing, replace(SETTINGS, device="cpu"))
        for one, other in zip(on_gpu, on_cpu, strict=True):
            assert_equal(one, other, 0.01)
