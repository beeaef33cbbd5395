"""Fan-out gives what ensembles give, and loses nothing that is finished."""

import os
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from codes import raises, warns
from torch import Tensor, nn

from affinity.sharing import HardSharing
from affinity.tasks import Examples, ExamplesView, Replicate, RSquared, SquaredError, Task
from affinity.training import (
    Build,
    Member,
    Store,
    TrainingSettings,
    fan_out,
    train_members,
    train_on_devices,
)
from affinity.training.device import find_gpus
from affinity.training.mapped_rows import RowFiles

TASKS = tuple(Task(name, SquaredError(), RSquared()) for name in ("a", "b"))
SETTINGS = TrainingSettings(epochs=3, batch_size=16)
MEMBERS = [Member(frozenset(names), number) for names in ({"a"}, {"a", "b"}) for number in (0, 1)]


def examples(count: int, seed: int) -> Examples:
    inputs = torch.randn(count, 4, generator=torch.Generator().manual_seed(seed))
    return Examples(inputs, torch.stack([inputs[:, 0], inputs.sum(dim=1)], dim=1))


def replicates() -> list[Replicate]:
    return [
        Replicate(seed, examples(40 + seed, seed), examples(20, 9), examples(20, 8))
        for seed in (0, 1)
    ]


def build(tasks: tuple[Task, ...]) -> HardSharing:
    return HardSharing(tasks, lambda: nn.Linear(4, 8), lambda task: nn.Linear(8, task.n_outputs))


def _needs(backend: str) -> None:
    library = {"loky": "joblib", "ray": "ray", "dask": "distributed"}[backend]
    pytest.importorskip(library, reason=f"an extra: pip install 'task-affinity[{backend}]'")


def assert_like_an_ensemble(backend: str) -> None:
    expected = train_members(build, TASKS, MEMBERS, replicates(), SETTINGS)
    results = fan_out(build, TASKS, MEMBERS, replicates(), SETTINGS, n_jobs=2, backend=backend)
    for member, one, other in zip(MEMBERS, results, expected, strict=True):
        assert one.replicate == member.replicate
        assert one.test_loss == pytest.approx(other.test_loss, rel=1e-4)
        assert one.epochs == other.epochs


@pytest.mark.slow
def test_processes_give_what_an_ensemble_gives() -> None:
    assert_like_an_ensemble("loky")


def test_devices_share_the_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = train_members(build, TASKS, MEMBERS, replicates(), SETTINGS, keep=True)
    results = train_on_devices(
        ["cpu", "cpu"],
        partial(train_members, build, TASKS, keep=True),
        MEMBERS,
        replicates(),
        SETTINGS,
    )
    for one, other in zip(results, expected, strict=True):
        assert (one.tasks, one.replicate) == (other.tasks, other.replicate)
        assert one.test_loss == pytest.approx(other.test_loss, rel=1e-4)
        assert one.state is not None
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert find_gpus("auto") == find_gpus("cuda") == ["cuda:0", "cuda:1"]
    assert find_gpus("cuda:1") == find_gpus("cpu") == []


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("backend", ["ray", "dask"])
def test_a_local_cluster_gives_what_an_ensemble_gives(backend: str) -> None:
    _needs(backend)
    assert_like_an_ensemble(backend)


def test_the_same_call_does_only_what_is_missing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first = train_members(build, TASKS, MEMBERS, replicates(), SETTINGS, store=store)
    files = {file: file.stat().st_mtime_ns for file in tmp_path.iterdir()}
    assert len(files) == len(MEMBERS)
    lost = min(files)
    lost.unlink()
    again = fan_out(build, TASKS, MEMBERS, replicates(), SETTINGS, n_jobs=1, store=store)
    for file, time in files.items():
        assert (file.stat().st_mtime_ns == time) == (file != lost)
    for one, other in zip(first, again, strict=True):
        assert one.test_loss == pytest.approx(other.test_loss, rel=1e-4)
        assert one.tasks == other.tasks


def test_what_decides_a_result_decides_its_name(tmp_path: Path) -> None:
    store = Store(tmp_path)
    train_members(build, TASKS, MEMBERS[:1], replicates(), SETTINGS, store=store)
    changed = replicates()
    changed[0].training.targets[0, 0] += 1.0
    train_members(build, TASKS, MEMBERS[:1], changed, SETTINGS, store=store)
    longer = TrainingSettings(epochs=4, batch_size=16)
    train_members(build, TASKS, MEMBERS[:1], replicates(), longer, store=store)
    assert len(list(tmp_path.iterdir())) == 3
    next(tmp_path.iterdir()).write_text("{")  # damaged: counts as missing
    train_members(build, TASKS, MEMBERS[:1], replicates(), SETTINGS, store=store)


def deadly(main: int, once: Path | None = None) -> Build:
    """What makes networks that kill every process but this one on a certain row, or only once."""

    def build(tasks: tuple[Task, ...]) -> HardSharing:
        class Deadly(nn.Linear):
            def forward(self, input: Tensor) -> Tensor:  # noqa: A002
                is_here = self.training and os.getpid() != main and bool((input == 77.0).any())
                if is_here and (once is None or not once.exists()):
                    if once is not None:
                        once.touch()
                    os.kill(os.getpid(), 9)
                return super().forward(input)

        return HardSharing(tasks, lambda: Deadly(4, 8), lambda task: nn.Linear(8, task.n_outputs))

    return build


def with_a_deadly_row() -> list[Replicate]:
    on = replicates()
    on[1].training.inputs[5] = 77.0
    return on


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("backend", ["loky", "ray", "dask"])
def test_a_training_that_kills_its_worker_twice_is_named_and_the_others_are_kept(
    backend: str, tmp_path: Path
) -> None:
    _needs(backend)
    on, store = with_a_deadly_row(), Store(tmp_path)
    with pytest.raises(RuntimeError, match=r"network of \['a'\] on replicate 1; the network of"):
        fan_out(deadly(os.getpid()), TASKS, MEMBERS, on, SETTINGS, 2, backend, store)
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_a_training_whose_worker_dies_once_is_tried_again(tmp_path: Path) -> None:
    on = with_a_deadly_row()
    build = deadly(os.getpid(), once=tmp_path / "died")
    results = fan_out(build, TASKS, MEMBERS, on, SETTINGS, n_jobs=2)
    assert (tmp_path / "died").exists()
    for one, other in zip(results, train_members(build, TASKS, MEMBERS, on, SETTINGS), strict=True):
        assert one.test_loss == pytest.approx(other.test_loss, rel=1e-4)


def test_an_unknown_backend_is_refused() -> None:
    with raises("unknown-backend"):
        fan_out(build, TASKS, MEMBERS, replicates(), SETTINGS, backend="slurm")


def test_rows_are_mapped_from_files_that_processes_share(tmp_path: Path) -> None:
    table, files = examples(5000, 0), RowFiles(tmp_path)
    parts = [table.view(part) for part in torch.randperm(5000).split(2000)]
    on = [Replicate(seed, parts[0], parts[1], parts[2]) for seed in (0, 1)]
    sent = [files.write(replicate) for replicate in on]
    assert max(len(replicate.data) for replicate in sent) < 4000
    assert [f.stat().st_size for f in tmp_path.iterdir()].count(table.inputs.nbytes) == 1
    first, second = (replicate.read() for replicate in sent)
    if (maps := Path("/proc/self/maps")).exists():
        assert str(tmp_path) in maps.read_text()
    for one in (first, second):
        assert torch.equal(one.training.inputs, parts[0].inputs)
        assert torch.equal(one.test.targets, parts[2].targets)
    assert isinstance(first.training, ExamplesView)
    changed = replace(first.training, targets=first.training.targets + 1)
    assert torch.equal(changed.inputs, first.training.inputs)
    assert torch.equal(changed.targets, first.training.with_targets(changed.targets).targets)
    first.training.table[:] = 0.0  # stays in this process
    assert torch.equal(second.training.inputs, parts[0].inputs)


def test_views_of_a_table_give_what_copies_give() -> None:
    table = examples(120, 0)
    table.targets[:15, 0] = torch.nan
    table.inputs[0] = torch.nan  # of a row without a label
    table.targets[0] = torch.nan
    draws = [torch.randperm(120, generator=torch.Generator().manual_seed(k)) for k in (0, 1)]
    views, copies = (
        [
            Replicate(k, make(draw[:40]), make(draw[40:80]), make(draw[80:]))
            for k, draw in enumerate(draws)
        ]
        for make in (table.view, table.take)
    )
    for one, other in zip(
        train_members(build, TASKS, MEMBERS, views, SETTINGS, keep=True),
        train_members(build, TASKS, MEMBERS, copies, SETTINGS, keep=True),
        strict=True,
    ):
        assert one.test_loss == other.test_loss
        assert one.diverged is None


def test_processes_are_as_many_as_fit_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    module = sys.modules["affinity.training.fan_out"]  # the package has a function of this name
    monkeypatch.setattr(module, "_free_memory", lambda: 500 * 2**20)
    with warns("fewer-processes"):
        results = fan_out(build, TASKS, MEMBERS[:2], replicates(), SETTINGS, n_jobs=2)
    assert [result.replicate for result in results] == [0, 1]
