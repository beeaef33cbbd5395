"""LP-FT on MNIST: does a probe before fine-tuning help in distribution, and outside of it?

python scripts/studies/lp_ft.py --replicates 10
"""

import argparse
import sys

import numpy as np
import pandas as pd
import torch
from intervals import ROOT, interval, markdown
from mnist_shifts import (
    DIGIT,
    MNIST,
    SIDE,
    images,
    inverted,
    learned,
    network_with,
    problem_of,
    replicate,
    rows,
    turned,
    written,
)
from sklearn.datasets import load_digits
from torch import Tensor

from affinity.tasks import Accuracy, CrossEntropy, Examples, Task
from affinity.training import TrainingSettings
from affinity.transfer import (
    FullFineTuning,
    LinearProbe,
    ProbeThenTune,
    Recipe,
    TuningJob,
    distortion,
    plan_for,
    tune,
)

OUT = ROOT / "reports/transfer/lp_ft"
LOOP = Task("loop", CrossEntropy(), Accuracy(), n_outputs=2)
WITH_LOOP = torch.tensor([0, 6, 8, 9])
RATES = (1e-3, 3e-3, 1e-2)
EPOCHS = 200
RECIPES: dict[str, Recipe] = {
    "linear probe": LinearProbe(),
    "fine-tuning": FullFineTuning(),
    "LP-FT": ProbeThenTune(scale=0.1),
}
SOURCE = TrainingSettings(epochs=30, batch_size=128, learning_rate=1e-3, patience=4)
IN = "upright"


def mixed(pixels: Tensor) -> Tensor:
    """A third upright, a third turned by -60 to 60 degrees, a third inverted."""
    parts = [pixels[0::3], pixels[1::3], inverted(pixels[2::3])]
    angles = torch.linspace(-60, 60, 13)
    parts[1] = torch.cat(
        [
            turned(float(angle))(some)
            for angle, some in zip(angles, parts[1].tensor_split(13), strict=True)
        ]
    )
    found = torch.empty_like(pixels)
    for start, part in enumerate(parts):
        found[start::3] = part
    return found


def has_loop(digits: Tensor) -> Tensor:
    return torch.isin(digits, WITH_LOOP)


def scikit_digits() -> tuple[Tensor, Tensor]:
    """Scikit-learn's digits, 8 x 8, at 14 x 14."""
    found = load_digits()
    pixels = torch.from_numpy(np.asarray(found.images, dtype=np.float32) / 16)
    square = torch.nn.functional.interpolate(
        pixels[:, None], (10, 10), mode="bilinear", align_corners=False
    )
    margin = (SIDE - 10) // 2  # MNIST's digits have one, too
    return torch.nn.functional.pad(square, [margin] * 4).flatten(1), torch.from_numpy(found.target)


def measure(n_replicates: int, n_rows: int) -> pd.DataFrame:
    pool, test = images("train"), images("t10k")
    test = test[0][:3000], test[1][:3000]
    half = len(pool[0]) // 2  # the source's images, and the target's
    source = rows(mixed(pool[0][:half]), pool[1][:half])
    digits = problem_of(DIGIT, SOURCE)
    on = [
        replicate(seed, source, (12000, 2000, 100), rows(mixed(test[0]), test[1]))
        for seed in range(n_replicates)
    ]
    states = learned(digits, on)
    trunks = [{k: v for k, v in state.items() if k.startswith("trunk.")} for state in states]
    other = scikit_digits()
    judged = {
        IN: (test[0], has_loop(test[1])),
        "turned by 40 degrees": (turned(40)(test[0]), has_loop(test[1])),
        "inverted": (inverted(test[0]), has_loop(test[1])),
        "scikit-learn's digits": (other[0], has_loop(other[1])),
    }
    target: Examples = rows(pool[0][half:], has_loop(pool[1][half:]))
    on = [
        replicate(1000 + seed, target, (n_rows, n_rows // 2, 500), rows(*judged[IN]))
        for seed in range(n_replicates)
    ]
    jobs = [TuningJob("loop", at, trunks[at]) for at in range(n_replicates)]
    found = []
    for rate in RATES:
        settings = TrainingSettings(epochs=EPOCHS, batch_size=32, learning_rate=rate, patience=20)
        problem = problem_of(LOOP, settings)
        for recipe, each in RECIPES.items():
            results = tune(problem, plan_for(problem, each), jobs, on, settings, keep=True)
            for at, result in enumerate(results):
                after = network_with(problem, dict(result.state or {}))
                before = network_with(digits, states[at])
                for name, (pixels, labels) in judged.items():
                    with torch.no_grad():
                        guess = after(pixels)["loop"].argmax(dim=1)
                    moved = distortion(before.trunk, after.trunk, pixels[:1000])
                    found.append(
                        {
                            "rows": name,
                            "recipe": recipe,
                            "rate": rate,
                            "replicate": at,
                            "evaluation": result.evaluation_loss["loop"],
                            "accuracy": 100 * float((guess == labels).double().mean()),
                            "drift": moved.drift,
                            "similarity": moved.similarity,
                        }
                    )
        print(rate, flush=True)
    return pd.DataFrame(found)


def at_chosen_rates(found: pd.DataFrame) -> pd.DataFrame:
    """On each replicate the rate of the lowest evaluation loss, in distribution, on the others."""
    chosen = []
    for _, own in found.groupby("recipe", sort=False):
        losses = own[own["rows"] == IN].pivot(
            index="replicate", columns="rate", values="evaluation"
        )
        for at in losses.index:
            rate = losses.drop(index=at).mean().idxmin()
            chosen.append(own[(own["replicate"] == at) & (own["rate"] == rate)])
    return pd.concat(chosen)


def table(chosen: pd.DataFrame, value: str, digits: int) -> pd.DataFrame:
    found = []
    for name in dict.fromkeys(chosen["rows"]):
        own = chosen[chosen["rows"] == name].pivot(
            index="replicate", columns="recipe", values=value
        )
        row = {"rows": name}
        for recipe in RECIPES:
            each = interval(own[recipe])
            row[recipe] = f"{each['mean']:.{digits}f} ± {each['half']:.{digits}f}"
        if value == "accuracy":
            for one, two in (("LP-FT", "fine-tuning"), ("linear probe", "fine-tuning")):
                each = interval(own[one] - own[two])
                row[f"{one} - {two}"] = f"{each['mean']:+.1f} ± {each['half']:.1f}"
        found.append(row)
    return pd.DataFrame(found)


README = """# LP-FT in and out of distribution, on MNIST

Kumar et al. (2022) report that fine-tuning is better than a linear probe in distribution (+2 % over
ten data sets) and worse outside of it (-7 %), and that a probe before fine-tuning (LP-FT) has the
best of both: +1 % and +10 % against fine-tuning. Here a network of three layers (width 64, images
of 14 x 14 pixels) learns the ten digits from 12,000 images of MNIST, a third of them turned by up
to 60 degrees, a third inverted. The target is new: has the digit a loop? {n_rows} upright images
are there to tune it (and half as many to stop by); it is judged on upright images, on turned and
inverted ones, which the source knows and the target does not, and on scikit-learn's digits, which
neither knows.

    {command}

Accuracy in %, with 95 % t interval over {replicates} replicates; differences are paired. The
learning rate, one of {rates}, is chosen for each recipe by the selection rows, all upright, of the
other replicates.

{accuracy}

How far the representation moved from the source's, relative to its length (drift):

{drift}

Linear CKA with the source's representation:

{similarity}

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
            OUT / "results.csv", index=False, float_format="%.5g"
        )
    chosen = at_chosen_rates(pd.read_csv(OUT / "results.csv"))
    words = (OUT / "words.md").read_text() if (OUT / "words.md").exists() else ""
    written(
        OUT / "README.md",
        README.format(
            command=f"python scripts/studies/lp_ft.py --replicates {arguments.replicates}"
            f" --rows {arguments.rows}",
            replicates=arguments.replicates,
            n_rows=arguments.rows,
            rates=", ".join(f"{rate:g}" for rate in RATES),
            accuracy=markdown(table(chosen, "accuracy", 1)),
            drift=markdown(table(chosen, "drift", 2)),
            similarity=markdown(table(chosen, "similarity", 3)),
            words=words,
        ),
    )


if __name__ == "__main__":
    main()
