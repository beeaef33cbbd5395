"""Surgical fine-tuning on MNIST: which block mends a shift of pixels, of subgroups, of labels?

python scripts/studies/surgical.py --replicates 10
"""

import argparse
import sys
from dataclasses import dataclass

import pandas as pd
import torch
from intervals import ROOT, interval, markdown
from mnist_shifts import (
    DIGIT,
    MNIST,
    Shift,
    faint,
    images,
    inverted,
    learned,
    noisy,
    problem_of,
    replicate,
    rows,
    written,
)
from torch import Tensor

from affinity.tasks import Accuracy, CrossEntropy, Task
from affinity.training import TrainingSettings
from affinity.transfer import FullFineTuning, Recipe, SurgicalFineTuning, TuningJob, plan_for, tune

OUT = ROOT / "reports/transfer/surgical"
HIGH = Task("digit", CrossEntropy(), Accuracy(), n_outputs=2)
KNOWN = (0, 1, 2, 5, 6, 7)  # the digits that the source has seen; 3, 4, 8 and 9 come later
RATES = (1e-3, 3e-3, 1e-2)
EPOCHS = 100
RECIPES: dict[str, Recipe] = {
    "all blocks": FullFineTuning(),
    "first block": SurgicalFineTuning("trunk.0", head=False),
    "second block": SurgicalFineTuning("trunk.1", head=False),
    "third block": SurgicalFineTuning("trunk.2", head=False),
    "head": SurgicalFineTuning("heads", head=False),
    "by gradient": SurgicalFineTuning(head=False),
}
BLOCKS = list(RECIPES)[1:5]


def same(pixels: Tensor) -> Tensor:
    return pixels


@dataclass(frozen=True)
class DiagnosisContext:
    """A shift: what happens to pixels, which digits come, what their labels become."""

    level: str
    shift: Shift = same
    has_new_digits: bool = False
    is_flipped: bool = False


CASES = {
    "Gaussian noise": DiagnosisContext("input", noisy),
    "inverted": DiagnosisContext("input", inverted),
    "low contrast": DiagnosisContext("input", faint),
    "unseen digits": DiagnosisContext("feature", has_new_digits=True),
    "flipped labels": DiagnosisContext("output", is_flipped=True),
}
SOURCE = TrainingSettings(epochs=30, batch_size=128, learning_rate=1e-3, patience=4)


def measure(n_replicates: int, n_rows: int) -> pd.DataFrame:
    pool, test = images("train"), images("t10k")
    test = test[0][:3000], test[1][:3000]

    def is_known(digits: Tensor) -> Tensor:
        return torch.isin(digits, torch.tensor(KNOWN))

    states = {}
    for is_high in (False, True):
        problem = problem_of(HIGH if is_high else DIGIT, SOURCE)
        keep = [
            is_known(part[1]) if is_high else torch.ones_like(part[1]).bool()
            for part in (pool, test)
        ]
        own = [
            rows(part[0][chosen], (part[1][chosen] >= 5) if is_high else part[1][chosen])
            for part, chosen in zip((pool, test), keep, strict=True)
        ]
        on = [replicate(seed, own[0], (8000, 1000, 100), own[1]) for seed in range(n_replicates)]
        states[is_high] = learned(problem, on)
    found = []
    for name, case in CASES.items():
        problem = problem_of(HIGH if case.has_new_digits else DIGIT, SOURCE)
        parts = []
        for pixels, digits in (pool, test):
            chosen = ~is_known(digits) if case.has_new_digits else torch.ones_like(digits).bool()
            digits = digits[chosen]
            label = (
                digits >= 5 if case.has_new_digits else 9 - digits if case.is_flipped else digits
            )
            parts.append(rows(case.shift(pixels[chosen]), label))
        on = [
            replicate(1000 + seed, parts[0], (n_rows, n_rows // 2, 500), parts[1])
            for seed in range(n_replicates)
        ]
        jobs = [
            TuningJob("digit", at, states[case.has_new_digits][at]) for at in range(n_replicates)
        ]
        for rate in RATES:
            settings = TrainingSettings(
                epochs=EPOCHS, batch_size=32, learning_rate=rate, patience=20
            )
            for recipe, each in RECIPES.items():
                plan = plan_for(problem.with_settings(settings), each)
                for at, result in enumerate(tune(problem, plan, jobs, on, settings)):
                    found.append(
                        {
                            "shift": name,
                            "level": case.level,
                            "recipe": recipe,
                            "rate": rate,
                            "replicate": at,
                            "evaluation": result.evaluation_loss["digit"],
                            "accuracy": 100 * result.test_metric["digit"],
                        }
                    )
        print(name, flush=True)
    return pd.DataFrame(found)


def at_chosen_rates(found: pd.DataFrame) -> pd.DataFrame:
    """On each replicate the rate that has the lowest evaluation loss on the others."""
    chosen = []
    for _, own in found.groupby(["shift", "recipe"], sort=False):
        losses = own.pivot(index="replicate", columns="rate", values="evaluation")
        for at in losses.index:
            rate = losses.drop(index=at).mean().idxmin()
            chosen.append(own[(own["replicate"] == at) & (own["rate"] == rate)])
    return pd.concat(chosen)


def tables(chosen: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Accuracy of each recipe, and what the best single block has beyond all blocks."""
    accuracy = chosen.pivot_table(
        index=["level", "shift", "recipe"], columns="replicate", values="accuracy", sort=False
    )
    shown, best = [], []
    for level, shift in dict.fromkeys((a, b) for a, b, _ in accuracy.index):
        own = accuracy.loc[(level, shift)]
        row = {"level": level, "shift": shift}
        for recipe in RECIPES:
            each = interval(own.loc[recipe])
            row[recipe] = f"{each['mean']:.1f} ± {each['half']:.1f}"
        shown.append(row)
        top = own.loc[BLOCKS].mean(axis=1).idxmax()
        row = {"level": level, "shift": shift, "best block": top}
        for other in ("all blocks", "by gradient"):
            each = interval(own.loc[top] - own.loc[other])
            row[f"beyond {other}"] = f"{each['mean']:+.1f} ± {each['half']:.1f}"
        best.append(row)
    return pd.DataFrame(shown), pd.DataFrame(best)


README = """# Surgical fine-tuning on MNIST

Lee et al. (2023) find that a shift of the inputs is mended by tuning the first block alone, a shift
of features (unseen subgroups) by a middle block, a shift of labels by the last one. Here a network
of three layers and a head (width 64, images of 14 x 14 pixels) learns 8,000 images of MNIST; then
{n_rows} images of the shifted data are there to tune it (and half as many to stop by). Pixels:
noise, inversion, low contrast. Subgroups: is the digit at least 5, learned on {known}, tuned
on the others. Labels: y becomes 9 - y. The head starts from the source, too.

    {command}

Accuracy on 3,000 test images of the shifted data (those of them with new digits), in %, with 95 %
t interval over {replicates} replicates. The learning rate, one of {rates}, is chosen for each
recipe by the selection rows of the other replicates.

{accuracy}

The best single block against all blocks, and against learning rates set by relative gradient
norms (Auto-RGN), in points of accuracy. The block is the best one on test rows, so
that the difference is somewhat optimistic.

{best}

{words}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replicates", type=int, default=10)
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--again", action="store_true", help="only write the page again")
    arguments = parser.parse_args()
    if not MNIST.exists():
        sys.exit(f"Expected MNIST at {MNIST.relative_to(ROOT.parent)}; it is missing.")
    torch.set_num_threads(1)
    OUT.mkdir(parents=True, exist_ok=True)
    if not arguments.again:
        measure(arguments.replicates, arguments.rows).to_csv(
            OUT / "accuracy.csv", index=False, float_format="%.5g"
        )
    accuracy, best = tables(at_chosen_rates(pd.read_csv(OUT / "accuracy.csv")))
    words = (OUT / "words.md").read_text() if (OUT / "words.md").exists() else ""
    written(
        OUT / "README.md",
        README.format(
            command=f"python scripts/studies/surgical.py --replicates {arguments.replicates}"
            f" --rows {arguments.rows}",
            replicates=arguments.replicates,
            n_rows=arguments.rows,
            known=", ".join(map(str, KNOWN)),
            rates=", ".join(f"{rate:g}" for rate in RATES),
            accuracy=markdown(accuracy),
            best=markdown(best),
            words=words,
        ),
    )


if __name__ == "__main__":
    main()
