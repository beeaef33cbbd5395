"""MAML with all tasks of a batch at once against one task after another: scripts/bench fewshot.

One outer gradient of MAML, second order, over 32 tasks. "One after another" is the loop that one
writes with autograd: adapt to a task with `torch.autograd.grad(create_graph=True)`, add its query
loss, go on to the next. The two are done in turn in one program with one thread; the ratio is that
of their processor times, which other programs on the machine disturb less than the clock. Both give
the same gradient, which is checked first.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from affinity.fewshot import (
    Episodes,
    FewShotProblem,
    MetaTraining,
    few_shot_digits,
    few_shot_sines,
)
from affinity.fewshot.maml import adapted_losses
from affinity.fewshot.network import FewShotNetwork, Parameters
from affinity.fewshot.random_numbers import generator_of

OUT = Path(__file__).parents[2] / "reports/bench/fewshot"
TASKS = 32
LEAST = 5.0
HEADER = """# MAML: tasks at once against one after another

`scripts/bench fewshot --rounds {rounds}`: one outer gradient of second-order MAML over {tasks}
tasks, one thread. Median processor time over rounds in which both take turns; the ratio is the
median of the rounds' ratios, with their range. Asked for: at least {least:g} times. The waves have
20 rows a task, the digits 48 and 60 of 64 pixels: there, arithmetic takes most of the time either
way.

{table}
"""


def one_after_another(
    network: FewShotNetwork,
    parameters: Parameters,
    episodes: Episodes,
    problem: FewShotProblem,
    steps: int,
) -> Tensor:
    """The query loss of each task, in a plain loop."""
    losses = []
    for inputs, targets, query_inputs, query_targets in zip(*episodes.parts, strict=True):
        own = parameters
        for _ in range(steps):
            loss = problem.task.loss(network.run(own, inputs), targets)
            gradients = torch.autograd.grad(loss, list(own.values()), create_graph=True)
            own = {
                name: value - problem.inner_rate * gradient
                for (name, value), gradient in zip(own.items(), gradients, strict=True)
            }
        losses.append(problem.task.loss(network.run(own, query_inputs), query_targets))
    return torch.stack(losses)


def measure(problem: FewShotProblem, steps: int, rounds: int) -> dict[str, object]:
    network = problem.network(0)
    parameters = {name: value.requires_grad_() for name, value in network.tensors().items()}
    episodes = problem.training.draw(
        TASKS, problem.shots, problem.queries, generator_of(0, "bench")
    )

    def gradient(losses: Callable[..., Tensor]) -> tuple[Tensor, ...]:
        mean = losses(network, parameters, episodes, problem, steps).mean()
        return torch.autograd.grad(mean, list(parameters.values()))

    for one, other in zip(gradient(adapted_losses), gradient(one_after_another), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)
    times: dict[Callable[..., Tensor], list[float]] = {adapted_losses: [], one_after_another: []}
    for _ in range(rounds):
        for losses, taken in times.items():
            start = time.process_time()
            gradient(losses)
            taken.append(time.process_time() - start)
    at_once, looped = times.values()
    ratios = [slow / fast for fast, slow in zip(at_once, looped, strict=True)]
    return {
        "problem": f"{problem.name}, K = {problem.shots}",
        "inner steps": steps,
        "parameters": sum(value.numel() for value in parameters.values()),
        "at once, ms": round(1e3 * statistics.median(at_once), 1),
        "one after another, ms": round(1e3 * statistics.median(looped), 1),
        "ratio": round(statistics.median(ratios), 1),
        "lowest": round(min(ratios), 1),
        "highest": round(max(ratios), 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    settings = MetaTraining(batch=TASKS)
    problems = [
        replace(few_shot_sines(settings), shots=10),
        few_shot_digits(ways=3, test_classes=["7", "8", "9"], settings=settings).with_shots(1),
        few_shot_digits(ways=3, test_classes=["7", "8", "9"], settings=settings).with_shots(5),
    ]
    rows = []
    for problem in problems:
        for steps in (1, 3):
            rows.append(measure(problem, steps, rounds))
            print(rows[-1], flush=True)
    results = pd.DataFrame(rows)
    OUT.mkdir(parents=True, exist_ok=True)
    results.to_csv(OUT / "ratios.csv", index=False)
    lines = [list(results.columns), ["---"] * results.shape[1], *results.astype(str).to_numpy()]
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    text = HEADER.format(rounds=rounds, tasks=TASKS, least=LEAST, table=table)
    (OUT / "README.md").write_text(text)


if __name__ == "__main__":
    main()
