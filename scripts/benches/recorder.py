"""Cost of a recorder's measurement relative to a plain step, compared with a plain TAG step.

Everything is timed in turn in one process on one thread, in processor time, so that other work on
the machine does not count; ratios are medians over rounds. Existing rows of the tables are kept: an
interrupted run (also by --minutes) continues at the next call.
"""

import argparse
import csv
import itertools
import resource
import statistics
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from affinity.recording import Recorder
from affinity.recording.settings import Settings

COUNTS = (2, 5, 9, 20, 40)
CYCLE = Settings().lookahead_every
"""With the defaults, one of this many measurements looks ahead."""

OVERHEAD_STEPS = {"mlp": 600, "convolution": 400, "transformer": 200, "large mlp": 200}


def perceptron(*sizes: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers)


Body = Callable[[], dict[str, object]]


class Transformer(nn.Module):
    """Three layers of width 128, averaged over tokens."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(128, 4, 512, dropout=0.0, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.layers(inputs).mean(dim=1)


def convolution() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )


TRUNKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], int]] = {
    "mlp": (lambda: perceptron(500, 256, 256, 128), (256, 500), 128),
    "convolution": (convolution, (64, 3, 64, 64), 64),
    "transformer": (Transformer, (32, 64, 128), 128),
    "large mlp": (lambda: perceptron(1024, 2048, 2048, 2048), (128, 1024), 2048),
}
"""A trunk, the shape of a batch, and the width of the representation."""

HUNDRED_MILLION = (lambda: perceptron(*[2048] * 25), (32, 2048), 2048)


class Network(nn.Module):
    """A trunk with one linear head per task."""

    def __init__(self, trunk: str, count: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        make, shape, width = HUNDRED_MILLION if trunk == "100 million" else TRUNKS[trunk]
        self.trunk = make()
        self.heads = nn.ModuleList(nn.Linear(width, 1) for _ in range(count))
        self.inputs = torch.randn(shape)
        self.targets = torch.randn(count, shape[0], 1)
        self.names = [f"task {number}" for number in range(count)]

    def forward(self) -> dict[str, Tensor]:
        representation = self.trunk(self.inputs)
        return {
            name: (head(representation) - target).square().mean()
            for name, head, target in zip(self.names, self.heads, self.targets, strict=True)
        }


def plain_step(network: Network, optimizer: torch.optim.Optimizer) -> None:
    torch.stack(list(network().values())).sum().backward()
    optimizer.step()
    optimizer.zero_grad()


def plain_steps(network: Network, optimizer: torch.optim.Optimizer, count: int) -> None:
    for _ in range(count):
        plain_step(network, optimizer)


def tag_step(network: Network, losses: dict[str, Tensor]) -> Tensor:
    """The TAG step: for each task a backward pass, a step of the shared parameters from a copy, a
    forward pass through trunk and all heads, and the copy back."""
    shared = list(network.trunk.parameters())
    rows: list[Tensor] = []
    for loss in losses.values():
        gradients = torch.autograd.grad(loss, shared, retain_graph=True)
        saved = [parameter.detach().clone() for parameter in shared]
        with torch.no_grad():
            for parameter, gradient in zip(shared, gradients, strict=True):
                parameter.data.sub_(gradient, alpha=1e-3)
            rows.append(1 - torch.stack(list(network().values())) / torch.stack([*losses.values()]))
            for parameter, before in zip(shared, saved, strict=True):
                parameter.data.copy_(before)
    return torch.stack(rows).detach()


def seconds(body: Callable[[], object]) -> float:
    started = time.process_time()
    body()
    return time.process_time() - started


def recorders(network: Network, count: int) -> dict[str, Recorder]:
    """One recorder of each kind that is timed."""

    def recorder(**settings: Any) -> Recorder:
        return Recorder(network, "trunk", every=1, **settings)

    return {
        "exact lookahead of every source": recorder(gramians=False, sources=count),
        "with the exact Gramian": recorder(lookahead_every=1, sketch=0),
        "default, looking ahead": recorder(lookahead_every=1),
        "default, else": recorder(lookahead_every=10**9),
        "representation": recorder(level="representation"),
    }


def measure(trunk: str, count: int, rounds: int) -> dict[str, object]:
    """Cost of one measurement in plain steps, by kind of recorder."""
    network = Network(trunk, count)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    kinds = recorders(network, count)
    times: dict[str, list[float]] = {name: [] for name in ("plain", "peer", *kinds, "default")}
    steps = 1 if trunk in {"transformer", "large mlp"} else 5
    for number in range(rounds + 1):  # the first one warms up
        taken = {"plain": seconds(lambda: plain_steps(network, optimizer, steps)) / steps}
        losses = network()
        taken["peer"] = seconds(lambda losses=losses: tag_step(network, losses))
        for name, recorder in kinds.items():
            losses = network()
            taken[name] = seconds(
                lambda recorder=recorder, losses=losses: recorder.observe(losses, network)
            )
        taken["default"] = (
            taken["default, looking ahead"] + (CYCLE - 1) * taken["default, else"]
        ) / CYCLE
        if number:
            for name, value in taken.items():
                times[name].append(value)

    def ratio(name: str, other: str) -> float:
        pairs = zip(times[name], times[other], strict=True)
        return round(statistics.median(one / two for one, two in pairs), 2)

    trace = kinds["default, looking ahead"].trace()
    assert trace.directions is not None
    return {
        "trunk": trunk,
        "tasks": count,
        "plain step, ms": round(1000 * statistics.median(times["plain"]), 2),
        **{f"{name}, plain steps": ratio(name, "plain") for name in times if name != "plain"},
        "peer / exact lookahead": ratio("peer", "exact lookahead of every source"),
        "peer / default": ratio("peer", "default"),
        "default's directions": int(trace.directions[-1]),
        "first-order error": round(trace.first_order_error(), 4),
    }


def measure_overhead(trunk: str, share: float = 0.05, count: int = 5) -> dict[str, object]:
    """A whole run with `overhead` and the same run without, alternating every ten steps."""
    networks = [Network(trunk, count) for _ in range(2)]
    optimizers = [torch.optim.Adam(network.parameters(), lr=1e-3) for network in networks]
    recorder = Recorder(networks[1], "trunk", overhead=share)
    spent = [0.0, 0.0]
    # The recorder's clock must exclude the time of the other run.
    clock, now = time.perf_counter, [0.0]
    time.perf_counter = lambda: now[0] + time.process_time()
    for _ in range(OVERHEAD_STEPS[trunk] // 10):
        for which, (network, optimizer) in enumerate(zip(networks, optimizers, strict=True)):
            started = time.process_time()
            for _ in range(10):
                losses = network()
                if which:
                    recorder.observe(losses, network)
                torch.stack(list(losses.values())).sum().backward()
                optimizer.step()
                optimizer.zero_grad()
            taken = time.process_time() - started
            spent[which] += taken
            if not which:
                now[0] -= taken
    cost = recorder.cost
    time.perf_counter = clock
    return {
        "trunk": trunk,
        "tasks": count,
        "steps": OVERHEAD_STEPS[trunk],
        "allowed": share,
        "by the recorder's own clock": round(cost.overhead, 4),
        "against the run without": round(spent[1] / spent[0] - 1, 4),
        "measurements": cost.measurements,
    }


def measure_many(count: int = 1000) -> dict[str, object]:
    """A measurement of many tasks, and the growth of the process's memory."""
    network = Network("mlp", count)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    for _ in range(3):
        plain = seconds(lambda: plain_step(network, optimizer))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    recorder = Recorder(network, "trunk", every=1)
    taken: list[float] = []
    for _ in range(5):
        losses = network()
        plain = seconds(lambda: plain_step(network, optimizer))
        losses = network()
        taken.append(seconds(lambda losses=losses: recorder.observe(losses, network)) / plain)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {
        "tasks": count,
        "plain step, ms": round(1000 * plain, 1),
        "with lookahead of 8 sources, plain steps": round(max(taken[0], taken[4]), 2),
        "without, plain steps": round(statistics.median(taken[1:4]), 2),
        "memory grew by, MiB": grown // 1024,
    }


@contextmanager
def peak_memory() -> Generator[list[int]]:
    """The largest resident memory of this process inside, in bytes, sampled by a thread."""
    largest, is_over = [0], threading.Event()

    def watch() -> None:
        while not is_over.wait(0.005):
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            largest[0] = max(largest[0], pages * resource.getpagesize())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield largest
    finally:
        is_over.set()
        thread.join()


def measure_large(looks_ahead: bool, count: int = 5, rounds: int = 4) -> dict[str, object]:
    """A measurement of a network of 100 million parameters: time and memory in plain steps."""
    network = Network("100 million", count)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
    recorder = Recorder(
        network,
        "trunk",
        every=1,
        lookahead_every=1 if looks_ahead else 1000,
        optimizer=optimizer,
    )
    with peak_memory() as plain_peak:  # later, what measurements took is not given back
        plain_steps(network, optimizer, 3)
    ratios: list[float] = []
    with peak_memory() as peak:
        for number in range(rounds + 2):  # the first also searches for what is shared
            plain = seconds(lambda: plain_step(network, optimizer))
            losses = network()
            taken = seconds(lambda losses=losses: recorder.observe(losses, network))
            torch.stack(list(losses.values())).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
            if number > 1:
                ratios.append(taken / plain)
    return {
        "looks ahead": looks_ahead,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "tasks": count,
        "plain steps": round(statistics.median(ratios), 2),
        "peak memory, of plain steps": round(peak[0] / plain_peak[0], 2),
    }


def table(path: Path, bodies: dict[tuple[str, ...], Body], is_over: Callable[[], bool]) -> None:
    """Compute the rows that are missing in the file, in order; each is written at once."""
    rows: list[dict[str, object]] = []
    if path.exists():
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
    for key, body in bodies.items():
        if any(
            key == tuple(str(value) for value in list(row.values())[: len(key)]) for row in rows
        ):
            continue
        if is_over():
            return
        rows.append(body())
        print(rows[-1], flush=True)
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench recorder", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tasks", type=int, nargs="+", default=list(COUNTS))
    parser.add_argument("--trunks", nargs="+", choices=list(TRUNKS), default=list(TRUNKS))
    parser.add_argument(
        "--tables", nargs="+", help="thousand_tasks, overhead, measurements, hundred_million"
    )
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start no row after")
    parser.add_argument("--output", type=Path, default=Path("reports/bench/recorder"))
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    chosen.output.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + 60 * chosen.minutes

    def is_over() -> bool:
        return time.monotonic() > end

    tables: dict[str, dict[tuple[str, ...], Body]] = {
        "thousand_tasks": {("1000",): measure_many},  # first: its memory is that of the process
        "overhead": {(trunk,): partial(measure_overhead, trunk) for trunk in chosen.trunks},
        "measurements": {
            (trunk, str(count)): partial(measure, trunk, count, chosen.rounds)
            for trunk in chosen.trunks
            for count in chosen.tasks
        },
        "hundred_million": {
            (str(ahead),): partial(measure_large, ahead) for ahead in (False, True)
        },
    }
    for name in chosen.tables or tables:
        table(chosen.output / f"{name}.csv", tables[name], is_over)


if __name__ == "__main__":
    main(sys.argv[1:])
