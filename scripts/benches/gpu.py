"""A GPU next to the CPU of the same machine, in at most 8 minutes: scripts/bench gpu [--small].

Wall time, because a GPU's work is no processor time: all 255 sets of the eight digits tasks, the
recorder on a network of 100 million parameters with nine tasks, and an audit of 100,000 rows.
No measurement starts after --minutes. --small takes a minute without a GPU, to try the script.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pandas as pd
import torch
from scale import measure
from torch import nn

from affinity.problems import NetworkTrainer, load_digits
from affinity.recording import Recorder
from affinity.training import Job

OUT = Path(__file__).parents[2] / "reports/bench/gpu"


def subsets(device: str, is_small: bool) -> float:
    """Seconds to train all sets of tasks (of at most two, if small) on one replicate."""
    problem = load_digits()
    settings = replace(problem.settings, device=device, epochs=3 if is_small else 100)
    names = problem.names
    sizes = range(1, 3 if is_small else len(names) + 1)
    sets = [frozenset(some) for size in sizes for some in combinations(names, size)]
    jobs = [Job(str(number), tasks, seed=0) for number, tasks in enumerate(sets)]
    start = time.perf_counter()
    results = list(NetworkTrainer(problem.with_settings(settings))(jobs))
    assert len(results) == len(sets)
    return time.perf_counter() - start


def recorder(device: str, is_small: bool, n_tasks: int = 9) -> dict[str, float]:
    """Seconds of a plain step, and of a step with the recorder's default measurement."""
    width = 256 if is_small else 5_000  # four layers: 100 million parameters
    layers = [part for _ in range(4) for part in (nn.Linear(width, width), nn.ReLU())]
    trunk = nn.Sequential(*layers).to(device)
    heads = nn.ModuleList(nn.Linear(width, 1) for _ in range(n_tasks)).to(device)
    inputs = torch.randn(128, width, device=device)
    optimizer = torch.optim.SGD([*trunk.parameters(), *heads.parameters()], lr=1e-4)
    watch = Recorder(shared=trunk, every=1)

    def step(is_measured: bool) -> float:
        if device != "cpu":
            torch.cuda.synchronize()
        start = time.perf_counter()
        hidden = trunk(inputs)
        losses = {str(n): head(hidden).square().mean() for n, head in enumerate(heads)}
        if is_measured:
            watch.observe(losses)
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
        if device != "cpu":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    seconds = {"plain": 0.0, "measured": 0.0}
    for kind in seconds:
        step(kind == "measured")
        seconds[kind] = sum(step(kind == "measured") for _ in range(6)) / 6
    return {f"recorder, {kind} step": value for kind, value in seconds.items()}


def main() -> None:
    """Measure on the CPU and on the device in turn, and write the table after each measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--minutes", type=float, default=6.0, help="start nothing after")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    is_small, start, rows = options.small, time.perf_counter(), []
    n_rows, minutes = (1_000, 0.2) if is_small else (100_000, 1.0)
    bodies: dict[str, Callable[[str], dict[str, float]]] = {
        "subsets": lambda device: {"sets of the digits' tasks": subsets(device, is_small)},
        "recorder": lambda device: recorder(device, is_small),
        "audit": lambda device: {
            f"audit of {n_rows} rows": measure(n_rows, minutes, "--device", device)["wall_seconds"]
        },
    }
    options.out.mkdir(parents=True, exist_ok=True)
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    for body in bodies.values():
        for device in ("cpu", options.device):
            if time.perf_counter() - start < 60 * options.minutes:
                for what, seconds in body(device).items():
                    rows.append({"what": what, "device": device, "gpu": gpu, "seconds": seconds})
                    print(rows[-1], flush=True)
                pd.DataFrame(rows).to_csv(options.out / "gpu.csv", index=False)


if __name__ == "__main__":
    main()
