"""Many trainings at once against one after another: scripts/bench training.

Both are run in turn in one process, with one thread; the figures are their ratio in processor time,
which other programs on the machine disturb less than the clock.
"""

import argparse
import time
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
import torch
from torch import nn

from affinity.sharing import HardSharing, Perceptron
from affinity.tasks import BinaryCrossEntropy, Examples, Replicate, RocAuc, Task
from affinity.training import Member, TrainingSettings, initial, train, train_members

OUT = Path(__file__).parents[2] / "reports/bench/training"
TASKS = tuple(Task(name, BinaryCrossEntropy(), RocAuc()) for name in "abcd")
CASES = {
    "64-32-32, batch 64": (64, 32, 64, (64, 256)),
    "294-128-128, batch 256": (294, 128, 256, (8,)),
}


def rows(count: int, n_features: int, generator: torch.Generator) -> Examples:
    labels = (torch.rand(count, len(TASKS), generator=generator) > 0.5).float()
    return Examples(torch.randn(count, n_features, generator=generator), labels)


def measure(n_features: int, width: int, batch: int, count: int, epochs: int) -> float:
    generator = torch.Generator().manual_seed(0)
    replicates = [
        Replicate(seed, *(rows(n, n_features, generator) for n in (1024, 128, 128)))
        for seed in range(4)
    ]
    settings = TrainingSettings(epochs=epochs, batch_size=batch, patience=epochs)

    def build(tasks: Iterable[Task]) -> HardSharing:
        return HardSharing(
            tasks, lambda: Perceptron(n_features, width, 2), lambda _: nn.Linear(width, 1)
        )

    names = frozenset(task.name for task in TASKS)
    members = [Member(names, number % len(replicates)) for number in range(count)]
    train_members(build, TASKS, members[:2], replicates, TrainingSettings(epochs=1))  # warm up
    start = time.process_time()
    train_members(build, TASKS, members, replicates, settings)
    together = time.process_time() - start
    some = members[: min(count, 8)]  # one after another costs the same for each
    start = time.process_time()
    for member in some:
        replicate = replicates[member.replicate]
        train(initial(build, TASKS, replicate.seed), TASKS, replicate, settings)
    alone = (time.process_time() - start) / len(some) * count
    return alone / together


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=4)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    OUT.mkdir(parents=True, exist_ok=True)
    lines = []
    for case, (n_features, width, batch, counts) in CASES.items():
        for count in counts:
            ratio = measure(n_features, width, batch, count, arguments.epochs)
            lines.append({"network": case, "members": count, "times faster": round(ratio, 2)})
            print(lines[-1], flush=True)
    pd.DataFrame(lines).to_csv(OUT / "ratios.csv", index=False)


if __name__ == "__main__":
    main()
