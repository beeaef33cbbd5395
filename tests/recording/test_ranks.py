"""Two gloo processes: averaged gradients, equal traces, and no hang when a rank stays away."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from codes import raises
from processes import WORLD, Alone, check, spawn
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

import affinity
from affinity.estimates import Linearization
from affinity.recording import Recorder, Trace

TASKS = ("a", "b", "c")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (dist.is_available() and dist.is_gloo_available()), reason="needs gloo"),
]


class Network(nn.Module):
    def __init__(self, dropout: float = 0.3) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Dropout(dropout))
        self.heads = nn.ModuleList(nn.Linear(5, 1) for _ in TASKS)

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        representation = self.trunk(inputs)
        return {
            task: (head(representation) - place).square().mean()
            for place, (task, head) in enumerate(zip(TASKS, self.heads, strict=True))
        }


def train(
    rank: int, static_graph: bool = False, **settings: Any
) -> tuple[list[Tensor], Recorder | None]:
    torch.manual_seed(0)
    model = DistributedDataParallel(Network(), static_graph=static_graph)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    recorder = Recorder(model, "trunk", optimizer=optimizer, **settings) if settings else None
    torch.manual_seed(rank + 1)
    for _ in range(6):
        inputs = torch.randn(8, 4)
        losses = model(inputs)
        if recorder is not None:
            recorder.observe(losses, closure=lambda inputs=inputs: model(inputs))
        sum(losses.values(), torch.tensor(0.0)).backward()
        optimizer.step()
        optimizer.zero_grad()
    return [*model.state_dict().values(), torch.get_rng_state()], recorder


def the_same_run(rank: int, folder: Path) -> None:
    for name, settings in {
        "exact": {"every": 2, "lookahead_every": 1},
        "sketch": {"every": 2, "sketch": 2},
        "representation": {"every": 2, "level": "representation"},
        "overhead": {"overhead": 0.5},
        "static": {"every": 1, "lookahead_every": 1, "static_graph": True},
    }.items():
        plain, _ = train(rank, static_graph=name == "static")
        recorded, recorder = train(rank, **settings)
        assert all(torch.equal(one, two) for one, two in zip(plain, recorded, strict=True)), name
        assert recorder is not None
        recorder.trace().save(folder / f"{name} {rank}")


def averaged(rank: int, folder: Path) -> None:
    torch.manual_seed(0)
    network = Network(dropout=0.0).eval()
    model = DistributedDataParallel(network)
    batches = torch.randn(WORLD, 8, 4)
    for name, settings in {
        "exact": {"lookahead_every": 1, "learning_rate": 0.1},
        "representation": {"level": "representation"},
    }.items():
        recorder = Recorder(model, "trunk", **settings)  # pyright: ignore[reportArgumentType]
        recorder.observe(model(batches[rank]), closure=lambda: model(batches[rank]))
        # One process with both batches; means over 16 rows are means of the means over 8.
        alone = Recorder(network, "trunk", **settings)  # pyright: ignore[reportArgumentType]
        alone._ranks = Alone(1.0)
        alone.observe(network(batches.flatten(0, 1)), lambda: network(batches.flatten(0, 1)))
        recorder.trace().save(folder / f"averaged {name} {rank}")
        alone.trace().save(folder / f"averaged {name} alone {rank}")


def different_models(rank: int, _: Path) -> None:
    torch.manual_seed(rank)  # each process trains a model of its own
    model = Network()
    with raises("different-models"):
        Recorder(model, "trunk").observe(model(torch.randn(8, 4)))
    dist.broadcast(torch.zeros(1), 0)  # both are still there
    torch.manual_seed(0)
    model = Network()  # equal, and averaged by hand
    Recorder(model, "trunk").observe(model(torch.randn(8, 4)))


def accumulated(rank: int, *, is_recorded: bool) -> tuple[list[Tensor], Recorder | None]:
    """Two micro-batches a step, synchronized at the second."""
    torch.manual_seed(0)
    model = DistributedDataParallel(Network(dropout=0.0))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    recorder = None
    if is_recorded:
        recorder = Recorder(
            model, "trunk", every=2, held_out="micro-batch", lookahead_every=1, learning_rate=0.1
        )
    torch.manual_seed(rank + 1)
    for number in range(6):
        inputs, is_second = torch.randn(8, 4), number % 2 == 1
        with nullcontext() if is_second else model.no_sync():
            losses = model(inputs)
            if recorder is not None:
                recorder.observe(losses, closure=lambda inputs=inputs: model(inputs))
            sum(losses.values(), torch.tensor(0.0)).backward()
        if is_second:
            optimizer.step()
            optimizer.zero_grad()
    return [*model.state_dict().values(), torch.get_rng_state()], recorder


def micro_batches(rank: int, folder: Path) -> None:
    plain, _ = accumulated(rank, is_recorded=False)
    recorded, recorder = accumulated(rank, is_recorded=True)
    assert all(torch.equal(one, two) for one, two in zip(plain, recorded, strict=True))
    assert recorder is not None
    recorder.trace().save(folder / f"micro-batches {rank}")
    # What the first two micro-batches give, from gradients that are averaged here.
    torch.manual_seed(0)
    network = Network(dropout=0.0)
    torch.manual_seed(rank + 1)
    sources, targets = (mean_gradients(network, torch.randn(8, 4)) for _ in range(2))
    torch.save(sources @ targets.T, folder / f"micro-batches expected {rank}")


def mean_gradients(network: Network, inputs: Tensor) -> Tensor:
    shared = [*network.trunk.parameters()]
    parts = [
        torch.autograd.grad(loss, shared, retain_graph=True) for loss in network(inputs).values()
    ]
    gradients = torch.stack([torch.cat([part.flatten() for part in each]) for each in parts])
    dist.all_reduce(gradients)
    return gradients / WORLD


def present_on_one_rank(rank: int, folder: Path) -> None:
    torch.manual_seed(0)
    model = DistributedDataParallel(Network(), find_unused_parameters=True)
    recorder = Recorder(model, "trunk", tasks=TASKS)
    losses = model(torch.randn(8, 4))
    del losses["b" if rank else "a"]
    recorder.observe(losses)
    recorder.trace().save(folder / f"one rank only {rank}")


def away(rank: int, folder: Path) -> None:  # noqa: ARG001
    model = DistributedDataParallel(Network())
    recorder = Recorder(model, "trunk", timeout=1.0)
    losses = model(torch.randn(8, 4))
    if rank == 0:
        with raises("missing-ranks"):
            recorder.observe(losses)


def at_another_step(rank: int, folder: Path) -> None:  # noqa: ARG001
    model = DistributedDataParallel(Network())
    recorder = Recorder(model, "trunk", timeout=20.0, every=2)
    if rank == 0:
        recorder._state.step = 2
    with raises("different-steps"):
        recorder.observe(model(torch.randn(8, 4)))


def linearized(rank: int, folder: Path) -> None:
    """Each rank has its part of the rows, one has none of the data set b."""
    generator = torch.Generator().manual_seed(5)
    inputs, labels = torch.randn(8, 4, generator=generator), torch.randn(8, generator=generator)
    rest = [(inputs + 1, labels)]

    def measure(model: nn.Module, rows: slice, *, has_b: bool) -> Linearization:
        part = [(inputs[rows], labels[rows])]
        batches = {"a": part, "b": [(inputs * 2, labels)] if has_b else []}
        held_out = {"a": rest if has_b else []}
        return affinity.linearize(
            model, batches, held_out, "squared error", dimensions=3, ridge=1.0
        )

    torch.manual_seed(0)
    model = DistributedDataParallel(nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 1)))
    statistics = measure(model, slice(4 * rank, 4 * rank + 4), has_b=rank == 1)
    affinity.save(statistics, folder / f"linearized {rank}")


BODIES = (
    *(the_same_run, averaged, different_models, micro_batches, present_on_one_rank, linearized),
    *(away, at_another_step),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes leave behind that run every body, one after another."""
    folder = tmp_path_factory.mktemp("ranks")
    spawn(folder, BODIES)
    return folder


def test_a_recorded_run_is_the_same_run_on_every_rank(folder: Path) -> None:
    check(folder, the_same_run)
    for name in ("exact", "sketch", "representation", "overhead"):
        one, two = (Trace.load(folder / f"{name} {rank}") for rank in range(WORLD))
        assert one.gramians is not None
        assert two.gramians is not None
        assert one.gramians.isfinite().all()
        assert torch.equal(one.steps, two.steps)
        assert torch.equal(one.losses, two.losses)
        assert torch.allclose(one.gramians, two.gramians, rtol=1e-6)


def test_gradients_are_averaged_over_ranks(folder: Path) -> None:
    check(folder, averaged)
    for name in ("exact", "representation"):
        one, alone = (Trace.load(folder / f"averaged {name} {which}") for which in ("0", "alone 0"))
        for field in ("losses", "gramians", "lookahead_losses"):
            measured, expected = getattr(one, field), getattr(alone, field)
            assert (measured is None) == (expected is None)
            if measured is not None:
                assert torch.allclose(measured, expected, rtol=1e-4, atol=1e-6), (name, field)


def test_a_micro_batch_is_held_out_on_every_rank(folder: Path) -> None:
    check(folder, micro_batches)
    one, two = (Trace.load(folder / f"micro-batches {rank}") for rank in range(WORLD))
    assert one.steps.tolist() == two.steps.tolist() == [0, 2, 4]
    expected = torch.load(folder / "micro-batches expected 0")
    for trace in (one, two):
        assert trace.held_out_gramians is not None
        assert torch.allclose(trace.held_out_gramians[0], expected, rtol=1e-4, atol=1e-6)
    for field in ("held_out_losses", "held_out_lookahead_losses", "held_out_gramians"):
        first, second = getattr(one, field), getattr(two, field)
        assert first.isfinite().all(), field
        assert torch.allclose(first, second, rtol=1e-6), field


def test_processes_with_models_of_their_own_are_refused(folder: Path) -> None:
    check(folder, different_models)


def test_a_task_may_be_present_on_one_rank_only(folder: Path) -> None:
    check(folder, present_on_one_rank)
    one, two = (Trace.load(folder / f"one rank only {rank}") for rank in range(WORLD))
    assert one.losses.isfinite().all()
    assert one.gramians is not None
    assert two.gramians is not None
    assert one.gramians.isfinite().all()
    assert torch.equal(one.gramians, two.gramians)


def test_a_missing_rank_is_an_error_and_no_hang(folder: Path) -> None:
    check(folder, away)


def test_ranks_at_different_steps_are_an_error(folder: Path) -> None:
    check(folder, at_another_step)


def test_statistics_of_data_sets_are_those_of_all_rows(folder: Path) -> None:
    check(folder, linearized)
    one, two = (affinity.load(folder / f"linearized {rank}") for rank in range(WORLD))
    generator = torch.Generator().manual_seed(5)
    inputs, labels = torch.randn(8, 4, generator=generator), torch.randn(8, generator=generator)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 1))
    whole = affinity.linearize(
        model,
        {"a": [(inputs, labels)], "b": [(inputs * 2, labels)]},
        {"a": [(inputs + 1, labels)]},
        "squared error",
        dimensions=3,
        ridge=1.0,
    )
    for other in (one, two):
        assert other.training.n_rows.tolist() == [8, 8]
        torch.testing.assert_close(other.training.gradients, whole.training.gradients)
        torch.testing.assert_close(other.training.curvatures, whole.training.curvatures)
        assert other.losses(["a", "b"]) == pytest.approx(whole.losses(["a", "b"]))
