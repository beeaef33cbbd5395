"""What modules and closures keep from a forward pass is as in a run without a recorder."""

import importlib
import itertools
import random
import threading
from array import array
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from typing import Any

import numpy as np
import pytest
import torch
from codes import raises
from torch import Tensor, nn

from affinity.recording import Recorder

INPUTS = torch.randn(12, 3, generator=torch.Generator().manual_seed(0))
SEEN = {"passes": 0}
SETTINGS: Any = None  # a module of the user's project
NOISE = np.random.default_rng(5)


def jitter() -> float:
    """Draws from a generator that no method names."""
    return NOISE.random()


class Tally:
    """A class that serves as a namespace."""

    passes = 0


class Memory:
    """A plain object that a module writes to."""

    def __init__(self) -> None:
        self.passes = 0
        self.latest: dict[str, Tensor] = {}


@dataclass(slots=True)
class Slotted:
    """An object without a dictionary of attributes."""

    passes: int = 0


class Keeping(nn.Module):
    """Keeps much of its forward passes, and its output depends on all of it."""

    total = 0

    def __init__(self) -> None:
        super().__init__()
        self.trunk, self.gate = nn.Linear(3, 4), nn.Linear(4, 2)
        self.a, self.b = nn.Linear(4, 1), nn.Linear(4, 1)
        self.table = nn.Embedding(3, 4, max_norm=0.5)
        self.aside = [nn.BatchNorm1d(4)]  # not registered
        self.generator = torch.Generator().manual_seed(1)
        self.numbers = np.random.default_rng(2)
        self.usage = torch.zeros(2)
        self.passes, self.history, self.memory = 0, list[Tensor](), Memory()
        self.slotted, self.bytes, self.doubles = Slotted(), bytearray(1), array("d", [0.0])
        self.legacy = np.random.RandomState(3)
        self.draw = random.Random(4).random  # the method of a generator, without the generator

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        self.passes += 1
        type(self).total += 1
        SEEN["passes"] += 1
        Tally.passes += 1
        self.memory.passes += 1
        self.slotted.passes += 1
        self.bytes[0] += 1
        self.doubles.append(self.legacy.rand() + self.draw())
        hidden = self.trunk(inputs).relu() + self.table(torch.arange(12) % 3)
        hidden = self.aside[0](hidden) + 0.1 * torch.rand(4, generator=self.generator)
        gates = self.gate(hidden).softmax(1).mean(0)
        self.usage += gates.detach()
        self.history.append(gates)
        self.memory.latest["gates"] = gates
        self.auxiliary = (gates * self.usage).sum()
        counted = self.passes + self.total + self.memory.passes + SEEN["passes"]
        counted += self.slotted.passes + self.bytes[0] + sum(self.doubles)
        counted += Tally.passes + jitter()
        scale = 1 + 0.01 * counted + 0.01 * self.numbers.random()
        return {t: scale * getattr(self, t)(hidden).square().mean() for t in "ab"}


def train(**settings: Any) -> dict[str, Any]:
    torch.manual_seed(0)
    Keeping.total = SEEN["passes"] = Tally.passes = calls = 0
    NOISE.bit_generator.state = np.random.default_rng(5).bit_generator.state
    model = Keeping()
    recorder = Recorder(model, every=2, **settings) if settings else None
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)

    def losses() -> dict[str, Tensor]:
        nonlocal calls
        calls += 1
        return {t: loss * (1 + 0.01 * calls) for t, loss in model(INPUTS).items()}

    for _ in range(5):
        now = losses()
        if recorder is not None:
            recorder.observe(now, closure=losses)
        optimizer.zero_grad()
        (now["a"] + now["b"] + model.auxiliary).backward()
        optimizer.step()
    kept = [calls, model.total, SEEN["passes"], model.passes, model.memory.passes]
    kept += [model.slotted.passes, model.bytes[0], model.doubles.tolist(), Tally.passes]
    drawn = [jitter(), model.numbers.random(), torch.rand(1, generator=model.generator).item()]
    tensors = [*model.state_dict().values(), model.usage, *model.history, *model.aside[0].buffers()]
    return {"kept": kept, "drawn": drawn, "tensors": [tensor.tolist() for tensor in tensors]}


@pytest.mark.parametrize(
    "settings",
    [
        {"shared": "trunk", "lookahead_every": 1},
        {"lookahead_every": 1},
        {"shared": "trunk", "lookahead_every": 1, "sketch": 2},
        {"level": "representation"},
        {"shared": "trunk", "layers": 1, "lookahead_every": 2},
    ],
)
def test_a_recorded_run_keeps_the_same(settings: dict[str, Any]) -> None:
    assert train(**settings) == train()


class Criterion:
    """Evaluates losses when it is called, and counts."""

    shown = 0

    def __init__(self, model: Keeping) -> None:
        self.model, self.calls = model, 0

    def __call__(self) -> dict[str, Tensor]:
        self.calls += 1
        type(self).shown += 1
        return self.model(INPUTS)


def test_an_object_as_the_closure_keeps_the_same() -> None:
    criterion = Criterion(Keeping())
    now, shown = criterion(), Criterion.shown
    Recorder(criterion.model, "trunk").observe(now, closure=criterion)
    assert (criterion.calls, Criterion.shown) == (1, shown)


def test_a_module_of_the_project_keeps_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "passes = calls = 0\ndef count():\n    global calls\n    calls += 1\n"
    (tmp_path / "settings_of_a_user.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    settings = importlib.import_module("settings_of_a_user")
    monkeypatch.setitem(globals(), "SETTINGS", settings)
    model = Keeping()

    def losses() -> dict[str, Tensor]:
        SETTINGS.passes += 1
        SETTINGS.count()
        return model(INPUTS)

    Recorder(model, "trunk").observe(losses(), closure=losses)
    assert (settings.passes, settings.calls) == (1, 1)


class Loader:
    """Batches that another thread prepares: in a queue, and in a list with a lock."""

    def __init__(self) -> None:
        self.queue: Queue[int] = Queue()
        self.made, self.lock, self.waiting = 0, threading.Lock(), deque[int]()
        self.norm = nn.BatchNorm1d(3)

    def make(self) -> None:
        self.norm(INPUTS)
        with self.lock:
            self.made += 1
            self.waiting.append(self.made)
        self.queue.put(self.made)


@dataclass
class Run:
    """A user's object for a whole run, whose method is the closure."""

    model: Keeping
    loader: Loader

    def losses(self) -> dict[str, Tensor]:
        thread = threading.Thread(target=self.loader.make)  # while a step is observed
        thread.start()
        thread.join()
        return self.model(INPUTS)


@pytest.mark.parametrize("is_whole", [True, False])
def test_what_other_threads_change_in_between_stays(*, is_whole: bool) -> None:
    run = Run(Keeping(), Loader())
    model, shared = (run.model, "trunk") if is_whole else (None, run.model.trunk)
    recorder = Recorder(model, shared, every=1, lookahead_every=1)
    recorder.observe(run.losses(), closure=lambda: run.losses())
    made = run.loader.made
    assert made > 1
    assert [*run.loader.waiting] == [*run.loader.queue.queue] == [*range(1, made + 1)]
    assert run.loader.norm.num_batches_tracked == made


class Scripted(nn.Module):
    """A TorchScript trunk with a counter and batch normalization."""

    passes: int

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.norm, self.passes = nn.Linear(3, 4), nn.BatchNorm1d(4), 0

    def forward(self, inputs: Tensor) -> Tensor:
        self.passes += 1
        return self.norm(self.linear(inputs))


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_a_torchscript_module_keeps_the_same() -> None:
    trunk = torch.jit.script(Scripted())
    model = nn.ModuleDict({"trunk": trunk, "a": nn.Linear(4, 1), "b": nn.Linear(4, 1)})

    def losses() -> dict[str, Tensor]:
        hidden = model["trunk"](INPUTS)
        return {task: model[task](hidden).square().mean() for task in "ab"}

    now = losses()
    before = [each.clone() for each in model.state_dict().values()]
    recorder = Recorder(model, "trunk", every=1, lookahead_every=1)
    recorder.observe(now, closure=losses)
    assert trunk.passes == 1
    assert all(map(torch.equal, before, model.state_dict().values()))
    assert recorder.trace().lookahead_losses is not None


def observe_with(model: Keeping, closure: Any) -> None:
    Recorder(model, "trunk").observe(model(INPUTS), closure=closure)


ITERATORS: dict[str, Callable[[], Iterator[float]]] = {
    "generator": lambda: (1 + 1e-5 * factor for factor in itertools.count()),  # tiny differences
    "count": itertools.count,
    "list": lambda: iter([1.0] * 100),
}


@pytest.mark.parametrize("name", ITERATORS)
def test_a_closure_that_moves_an_iterator_is_refused(name: str) -> None:
    torch.manual_seed(0)
    model, factors = Keeping(), ITERATORS[name]()
    with raises("kept-iterator"):
        observe_with(model, lambda: model(INPUTS * next(factors)))


def test_a_closure_that_reads_on_is_refused() -> None:
    torch.manual_seed(0)
    model, batches = Keeping(), map(INPUTS.mul, itertools.count(2))  # does not show where it is
    with raises("different-closure"):
        observe_with(model, lambda: model(next(batches)))


def test_iterators_that_the_closure_leaves_alone_are_fine() -> None:
    model, batches = Keeping(), (INPUTS * factor for factor in itertools.count(2))
    inputs = next(batches)
    recorder = Recorder(model, "trunk", lookahead_every=1)
    recorder.observe(model(inputs), closure=lambda: model(inputs) if batches else {})
    assert len(recorder.trace()) == 1


def test_a_closure_that_clears_gradients_is_refused() -> None:
    model = Keeping()
    model(INPUTS)["a"].backward()

    def closure() -> dict[str, Tensor]:
        model.zero_grad()
        return model(INPUTS)

    with raises("closure-with-effects"):
        observe_with(model, closure)


def test_a_kept_result_that_changes_in_place_is_refused() -> None:
    model = Keeping()
    kept: list[Tensor] = []

    def closure() -> dict[str, Tensor]:
        kept[0] *= 2
        return model(INPUTS)

    kept.append(model(INPUTS)["a"] * 1.0)
    with raises("kept-tensor"):
        observe_with(model, closure)
