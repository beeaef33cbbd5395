"""Two gloo processes with sharded parameters: the same run, and the trace of the whole model."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist
from codes import raises
from processes import WORLD, check, spawn
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh

from affinity.recording import Recorder, Trace
from affinity.recording.shards import gradient_parts

TASKS = ("a", "b", "c")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (dist.is_available() and dist.is_gloo_available()), reason="needs gloo"),
]


class Network(nn.Module):
    """Three outputs on two processes: parts of different sizes."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Dropout(dropout), nn.Linear(6, 3))
        self.heads = nn.ModuleDict({task: nn.Linear(3, 1) for task in TASKS})

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        hidden = self.trunk(inputs)
        return {
            task: (head(hidden) - place).square().mean()
            for place, (task, head) in enumerate(self.heads.items())
        }


def shard(network: Any, **settings: Any) -> nn.Module:
    from torch.distributed.fsdp import fully_shard

    for part in (network.trunk[0], network.trunk[3], network.heads["b"], network):
        fully_shard(part, **settings)
    return network


def low_precision(network: nn.Module) -> nn.Module:
    from torch.distributed.fsdp import MixedPrecisionPolicy

    policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
    return shard(network, mp_policy=policy)


def replicated(network: nn.Module) -> nn.Module:
    """One group of two copies, of one part each."""
    mesh = init_device_mesh("cpu", (WORLD, 1), mesh_dim_names=("copies", "parts"))
    return shard(network, mesh=mesh)


def tensor_parallel(network: nn.Module) -> nn.Module:
    from torch.distributed.tensor.parallel import (
        ColwiseParallel,
        RowwiseParallel,
        parallelize_module,
    )

    mesh = init_device_mesh("cpu", (WORLD,))
    plan: dict[str, Any] = {"trunk.0": ColwiseParallel(), "trunk.3": RowwiseParallel()}
    return parallelize_module(network, mesh, plan)


WAYS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "fsdp2": shard,
    "kept": lambda network: shard(network, reshard_after_forward=False),
    "low precision": low_precision,
    "replicated": replicated,
    "tensor parallel": tensor_parallel,
}

SETTINGS: dict[str, dict[str, Any]] = {
    "exact": {"every": 2, "lookahead_every": 1},
    "found": {"every": 1, "shared": None, "layers": 2},
    "representation": {"every": 2, "level": "representation"},
    "lookahead only": {"every": 2, "gramians": False},
}


def train(way: str, inputs: Tensor, *, accumulates: bool, **settings: Any) -> tuple[Any, Any]:
    """The state after some steps, of two micro-batches each where it accumulates."""
    torch.manual_seed(0)
    network = WAYS[way](Network(dropout=0.3))
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.01)
    recorder = None
    if settings:
        settings = {"shared": "trunk", "optimizer": optimizer, **settings}
        recorder = Recorder(network, **settings)
    torch.manual_seed(5)
    for number, batch in enumerate(inputs):
        is_last = not accumulates or number % 2 == 1
        if accumulates and way != "tensor parallel":
            network.set_requires_gradient_sync(is_last)  # pyright: ignore
        losses = network(batch)
        if recorder is not None:
            recorder.observe(losses, closure=lambda batch=batch: network(batch))
        penalty = network.heads["a"].weight.square().sum()  # pyright: ignore
        sum(losses.values(), 0.01 * local(penalty)).backward()
        if is_last:
            optimizer.step()
            optimizer.zero_grad()
    state = [local(p.detach()) for p in network.parameters()]
    state += [
        local(value)
        for entry in optimizer.state.values()
        for value in entry.values()
        if isinstance(value, Tensor)
    ]
    return [*state, torch.get_rng_state()], recorder


def local(tensor: Any) -> Tensor:
    return tensor.to_local() if type(tensor).__name__ == "DTensor" else tensor


def the_same_run(rank: int, folder: Path) -> None:
    for way in WAYS:
        # Tensor parallel processes have the same rows
        generator = torch.Generator().manual_seed(0 if way == "tensor parallel" else rank)
        inputs = torch.randn(6, 8, 4, generator=generator)
        for accumulates in (False, True):
            plain, _ = train(way, inputs, accumulates=accumulates)
            for name, settings in SETTINGS.items():
                recorded, recorder = train(way, inputs, accumulates=accumulates, **settings)
                assert all(map(torch.equal, plain, recorded)), (way, name, accumulates)
                recorder.trace().save(folder / f"{way} {name} {accumulates} {rank}")


def rows(rank: int, way: str) -> Tensor:
    """The rows of one process; with tensor parallel, all have the same."""
    generator = torch.Generator().manual_seed(3)
    batches = torch.randn(WORLD, 8, 4, generator=generator)
    return batches.flatten(0, 1) if way == "tensor parallel" else batches[rank]


def record(network: nn.Module, inputs: Tensor, **settings: Any) -> Trace:
    """Two steps with momentum, the second of which is recorded with a held-out batch."""
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    settings = {"shared": "trunk", "every": 1, "after": 1, "optimizer": optimizer, **settings}
    recorder = Recorder(network, **settings)
    for _ in range(2):
        losses = network(inputs)
        recorder.observe(losses, lambda: network(inputs), lambda: network(-inputs))
        sum(losses.values(), torch.tensor(0.0)).backward()
        optimizer.step()
        optimizer.zero_grad()
    return recorder.trace()


def whole(rank: int, folder: Path) -> None:
    for way in WAYS:
        torch.manual_seed(0)
        network = WAYS[way](Network())
        settings = {"lookahead_every": 1, "layers": 2}
        record(network, rows(rank, way), **settings).save(folder / f"whole {way} {rank}")


def gaps(rank: int, folder: Path) -> None:
    """Rank 1 has no labels of b: its loss is missing, NaN, or 0 with a graph."""
    for kind in ("absent", "nan", "zero"):
        torch.manual_seed(0)
        network = Network()
        from torch.distributed.fsdp import fully_shard

        fully_shard(network.trunk)
        fully_shard(network)
        recorder = Recorder(network, "trunk", tasks=TASKS)
        losses = network(rows(rank, "fsdp2"))
        if rank == 1 and kind == "absent":
            del losses["b"]
        elif rank == 1:
            losses["b"] = losses["b"] * (0.0 if kind == "zero" else torch.nan)
        recorder.observe(losses)
        recorder.trace().save(folder / f"gaps {kind} {rank}")


def without_losses(rank: int, folder: Path) -> None:  # noqa: ARG001
    network = shard(Network())
    recorder = Recorder(network, "trunk", tasks=TASKS)
    losses = network(rows(rank, "fsdp2"))
    recorder.observe(losses if rank == 0 else dict.fromkeys(TASKS))
    trace = recorder.trace()
    assert trace.gramians is not None
    assert trace.gramians.isnan().all()


def optimizer_in_backward(rank: int, folder: Path) -> None:  # noqa: ARG001
    """Hooks that follow a gradient run in the run's own backward pass alone."""
    network = shard(Network())
    calls: list[Tensor] = []
    for parameter in network.parameters():
        parameter.register_post_accumulate_grad_hook(calls.append)
    recorder = Recorder(network, "trunk")
    losses = network(rows(rank, "fsdp2"))
    recorder.observe(losses)
    assert not calls
    sum(losses.values(), torch.tensor(0.0)).backward()
    assert len(calls) == len(list(network.parameters()))


def refused(rank: int, folder: Path) -> None:  # noqa: ARG001
    from torch.distributed.fsdp import FullyShardedDataParallel

    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    unsupported: list[dict[str, Any]] = [
        {"sketch": 2},
        {"level": "last layer"},
        {"step": "optimizer"},
    ]
    for settings in unsupported:
        with raises("sharded-parameters"):
            Recorder(shard(Network()), "trunk", optimizer=optimizer, **settings)
    half = init_device_mesh("cpu", (WORLD, 1), mesh_dim_names=("copies", "parts"))["parts"]
    with raises("sharded-parameters"):
        Recorder(shard(Network(), mesh=half), "trunk")
    with raises("sharded-parameters"):
        Recorder(FullyShardedDataParallel(Network(), device_id=torch.device("cpu")), "trunk")


BODIES = (the_same_run, whole, gaps, without_losses, optimizer_in_backward, refused)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    spawn(folder, BODIES)
    return folder


def test_a_recorded_run_is_the_same_run_on_every_process(folder: Path) -> None:
    check(folder, the_same_run)
    for way in WAYS:
        for name in SETTINGS:
            one, two = (Trace.load(folder / f"{way} {name} False {rank}") for rank in range(WORLD))
            assert torch.equal(one.losses, two.losses)
            assert one.losses.isfinite().all()
            for field in ("gramians", "lookahead_losses"):
                compare(field, getattr(one, field), getattr(two, field), tolerance=0.0)


@pytest.mark.parametrize("way", WAYS)
def test_the_trace_is_that_of_the_whole_model(folder: Path, way: str) -> None:
    check(folder, whole)
    torch.manual_seed(0)
    inputs = torch.cat([rows(rank, "fsdp2") for rank in range(WORLD)])
    expected = record(Network(), inputs, lookahead_every=1, layers=2)
    tolerance = 0.1 if way == "low precision" else 1e-5
    for rank in range(WORLD):
        trace = Trace.load(folder / f"whole {way} {rank}")
        assert trace.layers == expected.layers
        for field in (
            *("losses", "gramians", "layer_gramians", "layer_norms", "momentum_products"),
            *("held_out_gramians", "held_out_losses", "lookahead_losses"),
        ):
            compare(field, getattr(trace, field), getattr(expected, field), tolerance)


@pytest.mark.parametrize("kind", ["absent", "nan", "zero"])
def test_a_task_may_lack_labels_on_one_process(folder: Path, kind: str) -> None:
    check(folder, gaps)
    torch.manual_seed(0)
    network = Network()
    shared = [*network.trunk.parameters()]
    batches = [network(rows(rank, "fsdp2")) for rank in range(WORLD)]
    gradients: list[Tensor] = []
    for task in TASKS:
        losses = [batch[task] for batch in (batches[:1] if task == "b" else batches)]
        parts = torch.autograd.grad(torch.stack(losses).mean(), shared, retain_graph=True)
        gradients.append(torch.cat([part.flatten() for part in parts]))
    matrix = torch.stack(gradients)
    for rank in range(WORLD):
        trace = Trace.load(folder / f"gaps {kind} {rank}")
        compare("gramians", trace.gramians, (matrix @ matrix.T)[None], 1e-5)
        assert trace.losses[0, 1].item() == pytest.approx(batches[0]["b"].item())


def test_a_process_without_losses_is_no_hang(folder: Path) -> None:
    check(folder, without_losses)


def test_hooks_after_accumulation_do_not_run(folder: Path) -> None:
    check(folder, optimizer_in_backward)


def test_what_cannot_be_recorded_is_refused_at_construction(folder: Path) -> None:
    check(folder, refused)


def compare(what: str, one: Tensor | None, other: Tensor | None, tolerance: float) -> None:
    assert (one is None) == (other is None), what
    if one is not None and other is not None:
        assert torch.equal(one.isnan(), other.isnan()), what
        error = (one - other).nan_to_num().norm() / other.nan_to_num().norm().clamp(min=1e-9)
        assert error <= tolerance, (what, error)


def test_another_form_of_the_state_of_fsdp_is_refused() -> None:
    network = Network()
    group = SimpleNamespace(fsdp_params=[], _reshard_after_forward=True, is_unsharded=False)
    state = SimpleNamespace(_fsdp_param_groups=[group], _state_ctx=SimpleNamespace())
    network._get_fsdp_state = lambda: state  # type: ignore
    parameters = list(network.parameters())
    loss = network.trunk(torch.ones(2, 4)).mean()
    with raises("sharded-parameters"):
        gradient_parts(network, [loss], [1.0], parameters, has_gaps=False)
