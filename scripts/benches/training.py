"""Many trainings at once against one after another, and in processes: scripts/bench training.

Two measurements, each of things done in turn in one program with one thread a process:

- `ratios.csv`: how many times faster networks of one size are trained at once than by a plain loop.
- `subsets.csv`: all 255 sets of the eight digits tasks, with the settings of an audit, trained at
  once, by a plain loop, and by joblib's processes (`fan_out`). The loop and the processes train a
  sample of the sets; their figures are those of the sample times 255 / its size.

The figures are in processor time, children's included, which other programs on the machine disturb
less than the clock; wall-clock time stands next to it.
"""

import argparse
import resource
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import chain, combinations
from pathlib import Path

import pandas as pd
import torch
from joblib.externals.loky import get_reusable_executor
from torch import nn

from affinity.problems import load_digits
from affinity.sharing import HardSharing, Perceptron
from affinity.tasks import BinaryCrossEntropy, Examples, Replicate, RocAuc, Task
from affinity.training import (
    Build,
    Member,
    TrainingSettings,
    fan_out,
    initial,
    train,
    train_members,
)

OUT = Path(__file__).parents[2] / "reports/bench/training"
TASKS = tuple(Task(name, BinaryCrossEntropy(), RocAuc()) for name in "abcd")
SIZES = {
    "64-32-32, batch 64": (64, 32, 64, (8, 64, 256)),
    "294-128-128, batch 256": (294, 128, 256, (2, 8, 32)),
}
ALONE = 6  # trainings one after another cost the same each


def rows(count: int, n_features: int, generator: torch.Generator) -> Examples:
    labels = (torch.rand(count, len(TASKS), generator=generator) > 0.5).float()
    return Examples(torch.randn(count, n_features, generator=generator), labels)


def spent(work: Callable[[], object]) -> tuple[float, float]:
    """Processor time, that of children that ended included, and time on the clock."""

    def processor() -> float:
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return time.process_time() + children.ru_utime + children.ru_stime

    before, start = processor(), time.perf_counter()
    work()
    return processor() - before, time.perf_counter() - start


def one_by_one(
    build: Build, on: Sequence[Replicate], settings: TrainingSettings, count: int = ALONE
) -> None:
    for number in range(count):
        replicate = on[number % len(on)]
        train(initial(build, TASKS, replicate.seed), TASKS, replicate, settings)


def ratios(epochs: int, rounds: int) -> Iterable[dict[str, object]]:
    for size, (n_features, width, batch, counts) in SIZES.items():
        generator = torch.Generator().manual_seed(0)
        on = [
            Replicate(seed, *(rows(n, n_features, generator) for n in (1024, 128, 128)))
            for seed in range(4)
        ]
        settings = TrainingSettings(epochs=epochs, batch_size=batch, patience=epochs)

        def build(
            tasks: Iterable[Task], n_features: int = n_features, width: int = width
        ) -> HardSharing:
            return HardSharing(
                tasks, lambda: Perceptron(n_features, width, 2), lambda _: nn.Linear(width, 1)
            )

        names = frozenset(task.name for task in TASKS)
        for count in counts:
            members = [Member(names, number % len(on)) for number in range(count)]
            train_members(build, TASKS, members[:2], on, TrainingSettings(epochs=1))  # warm up
            for number in range(rounds):
                together = spent(partial(train_members, build, TASKS, members, on, settings))
                alone = spent(partial(one_by_one, build, on, settings))
                yield {
                    "network": size,
                    "members": count,
                    "round": number,
                    "times faster": alone[0] / ALONE * count / together[0],
                    "times faster by the clock": alone[1] / ALONE * count / together[1],
                    "milliseconds a training at once": 1e3 * together[0] / count,
                    "milliseconds a training alone": 1e3 * alone[0] / ALONE,
                }


def subsets(sample: int) -> Iterable[dict[str, object]]:
    problem = load_digits()
    on = problem.replicates(1)
    sets = [
        frozenset(some)
        for some in chain.from_iterable(
            combinations(problem.names, size) for size in range(1, len(problem.names) + 1)
        )
    ]
    members = [Member(some, 0) for some in sets]
    few = members[:: len(members) // sample]

    def in_turn() -> None:
        for member in few:
            own = [task for task in problem.tasks if task.name in member.tasks]
            network = initial(problem.network, own, on[0].seed)
            train(network, problem.tasks, on[0], problem.settings)

    def in_processes() -> None:
        fan_out(problem.network, problem.tasks, few, on, problem.settings, n_jobs=2)
        get_reusable_executor().shutdown(wait=True)  # so that their time counts

    arguments = problem.network, problem.tasks, members, on, problem.settings
    ways: dict[str, tuple[Callable[[], object], int]] = {
        "at once": (lambda: train_members(*arguments), len(members)),
        "one after another": (in_turn, len(few)),
        "in two processes (joblib)": (in_processes, len(few)),
    }
    for way, (work, trained) in ways.items():
        processor, clock = spent(work)
        yield {
            "way": way,
            "trained": trained,
            "seconds of processor for 255": processor * len(members) / trained,
            "seconds by the clock for 255": clock * len(members) / trained,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=("subsets", "ratios"), help="One of the two.")
    parser.add_argument("--sample", type=int, default=28, help="Sets trained by loop and joblib.")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    OUT.mkdir(parents=True, exist_ok=True)
    for name, lines in {
        "subsets": subsets(arguments.sample),
        "ratios": ratios(arguments.epochs, arguments.rounds),
    }.items():
        if arguments.only not in (None, name):
            continue
        seen = []
        for line in lines:
            seen.append(line)
            print({key: round(v, 2) if isinstance(v, float) else v for key, v in line.items()})
            pd.DataFrame(seen).round(2).to_csv(OUT / f"{name}.csv", index=False)


if __name__ == "__main__":
    main()
