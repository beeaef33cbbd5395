"""MNIST episodes from classes that were never seen: meta-train on digits 0 to 6, test on 7 to 9.

python scripts/studies/few_shot_mnist.py --seeds 3 --iterations 300
"""

import argparse
import gzip
from pathlib import Path

import few_shots
import matplotlib as mpl
import numpy as np
import torch
from intervals import ROOT
from torch import Tensor, nn
from torch.nn import functional

from affinity.fewshot import (
    ANIL,
    MAML,
    ClassFamily,
    FewShotProblem,
    FirstOrderMAML,
    FromScratch,
    LinearModel,
    MetaTraining,
    Pretrained,
    PrototypicalNetwork,
    Reptile,
)

mpl.use("agg")

OUT = ROOT / "reports/fewshot/mnist"
DATA = ROOT.parent / "shared/data/images/mnist"
TRAINING, TEST = range(7), range(7, 10)
ROWS_A_CLASS = 2000
N_TASKS = 300
METHODS = {
    "from scratch": FromScratch(),
    "linear model": LinearModel(),
    "pretrained head only": Pretrained(moves="head"),
    "pretrained": Pretrained(),
    "prototypical network": PrototypicalNetwork(),
    "Reptile": Reptile(inner_steps=3),
    "first-order MAML": FirstOrderMAML(inner_steps=2),
    "ANIL": ANIL(inner_steps=2),
    "MAML": MAML(inner_steps=2),
}
HEADER = """# Few-shot MNIST

3-way episodes from digits that were never learned: meta-training on the digits 0 to 6 (2,000
training images each, averaged to 14 x 14 pixels), meta-test on 7 to 9 (images of the test file;
step sizes were chosen on images of 7 to 9 from the training file, the same for every method). A
trunk of two convolutions (16 and 32 channels, 3 x 3, stride 2), {iterations} iterations of 16
tasks. Accuracy on 5 queries a class of {n_tasks} tasks, mean over {seeds} meta-trainings with 95 %
t intervals: other initial networks, meta-training batches and images of 7 to 9. There is one choice
of meta-test classes only, so the intervals say nothing of other digits. Omniglot was not at hand.
"From scratch" may take 10 to 1,000 steps, chosen on the same images as step sizes; the linear model
is logistic regression on the pixels. Neither depends on the number of steps of the others.

    {command}

{table}

Accuracy beyond that of learning from scratch, after 10 steps, paired by meta-training:

{paired}

A prototypical network takes no gradient steps.

![Accuracy after each number of gradient steps](curves.png)
"""


def images(part: str) -> tuple[Tensor, Tensor]:
    """Images ``[row 1 14 14]`` between 0 and 1, and their digits."""
    pixels, labels = (
        np.frombuffer(
            gzip.decompress((DATA / f"{part}-{name}.gz").read_bytes()), np.uint8, -1, skip
        )
        for name, skip in (("images-idx3-ubyte", 16), ("labels-idx1-ubyte", 8))
    )
    whole = torch.from_numpy(pixels.copy()).view(-1, 1, 28, 28) / 255.0
    return functional.avg_pool2d(whole, 2), torch.from_numpy(labels.copy()).long()


def family(inputs: Tensor, labels: Tensor, digits: range) -> ClassFamily:
    rows = torch.cat([(labels == digit).nonzero()[:ROWS_A_CLASS, 0] for digit in digits])
    names = tuple(map(str, digits))
    return ClassFamily(inputs[rows], labels[rows] - digits.start, names, ways=3)


def trunk() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
    )


def problem_of(iterations: int) -> FewShotProblem:
    training, test = images("train"), images("t10k")
    return FewShotProblem(
        name="MNIST",
        training=family(*training, TRAINING),
        validation=family(*training, TEST),
        test=family(*test, TEST),
        trunk=trunk,
        head=lambda task: nn.Linear(32 * 4 * 4, task.n_outputs),
        shots=1,
        queries=5,
        settings=MetaTraining(iterations=iterations, batch=16),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--iterations", type=int, default=300)
    parser.add_argument("--minutes", type=float, default=60, help="Then stop; run it again.")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    out = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    problem = problem_of(arguments.iterations)
    results = few_shots.run(
        out, lambda _: problem, (1, 5), METHODS, arguments.seeds, N_TASKS, arguments.minutes
    )
    command = (
        f"python scripts/studies/few_shot_mnist.py --seeds {arguments.seeds} "
        f"--iterations {arguments.iterations}"
    )
    (out / "README.md").write_text(
        HEADER.format(
            iterations=arguments.iterations,
            n_tasks=N_TASKS,
            seeds=results["seed"].nunique(),
            command=command,
            table=few_shots.table(results, (1, 5, 10), 3),
            paired=few_shots.paired(results, "from scratch", 3),
        )
    )
    few_shots.plot(results, "accuracy", out / "curves.png")


if __name__ == "__main__":
    main()
