"""Sine waves from few points: MAML and its cheaper kin, a pretrained network and one from scratch.

python scripts/studies/few_shot_sines.py --seeds 10 --iterations 1000
"""

import argparse
from dataclasses import replace

import few_shots
import matplotlib as mpl
import torch
from intervals import ROOT

from affinity.fewshot import (
    ANIL,
    MAML,
    FewShotProblem,
    FirstOrderMAML,
    FromScratch,
    LinearModel,
    MetaTraining,
    Pretrained,
    Reptile,
    few_shot_sines,
)

mpl.use("agg")
from matplotlib import pyplot as plt

OUT = ROOT / "reports/fewshot/sines"
N_TASKS = 600
METHODS = {
    "from scratch": FromScratch(),
    "linear model": LinearModel(),
    "pretrained": Pretrained(),
    "Reptile": Reptile(inner_steps=5),
    "first-order MAML": FirstOrderMAML(inner_steps=3),
    "ANIL": ANIL(inner_steps=3),
    "MAML": MAML(inner_steps=3),
}
HEADER = """# Sine waves from few points

A task is a sine wave with an amplitude between 0.1 and 5 and a phase between 0 and π; K of its
points are known (Finn et al., 2017, section 5.1). A network of two layers of 40 is meta-trained on
{iterations} batches of 25 waves, then adapted to {n_tasks} other waves by
gradient steps on their K points. Mean squared error on {queries} other points of each wave, mean
over {seeds} meta-trainings with 95 % t intervals; each has its own initial network and its own
waves. The step size of the adaptation was chosen for every method among the same seven, on waves
that are not judged. "From scratch" may take 10 to 1,000 steps, chosen on the same waves; the linear
model is ridge regression on the K points. Neither depends on the number of steps of the others.

    {command}

{table}

Squared error beyond that of learning from scratch, after 10 steps, paired by meta-training (below 0
is better):

{paired}

"Pretrained" is the same network trained on the points of all waves at once: before it is adapted it
can know no more than their mean, and ten steps do not lead from there to a wave. From ten points,
training from scratch for up to 1,000 steps is better than that; from five points it does not help.

![Squared error after each gradient step](curves.png)

![A wave, and what the networks make of ten of its points](waves.png)
"""


def problem_of(iterations: int, shots: int = 10) -> FewShotProblem:
    settings = MetaTraining(iterations=iterations, batch=25)
    return replace(few_shot_sines(settings), steps=tuple(range(1, 11)), shots=shots)


def draw_waves(iterations: int) -> None:
    """Three new waves with ten known points each, before and after ten steps."""
    problem = problem_of(iterations)
    episodes = problem.test.draw(3, 10, 1, torch.Generator().manual_seed(5))
    places = torch.linspace(-5, 5, 200).view(1, -1, 1).expand(3, -1, -1)
    asked = replace(episodes, query_inputs=places, query_targets=places[:, :, 0])
    figure, panels = plt.subplots(1, 3, figsize=(12, 3.4), sharey=True)
    for name, colour in (("pretrained", "#8a4fa3"), ("MAML", "#1b7f79")):
        learned = METHODS[name](problem, 0)
        after = learned.predict(asked, problem.steps)[-1, :, :, 0]
        before = learned.network.run(learned.parameters, places[0])[:, 0].detach()
        for axes, curve in zip(panels, after, strict=True):
            axes.plot(places[0, :, 0], before, ":", color=colour, linewidth=1)
            axes.plot(places[0, :, 0], curve, color=colour, label=f"{name}, 10 steps")
    for axes, inputs, targets in zip(panels, *episodes.parts[:2], strict=True):
        axes.plot(inputs[:, 0], targets, "o", color="black", markersize=4, label="known points")
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].legend(frameon=False, fontsize=8)
    panels[1].set_title("dotted: before adaptation", fontsize=9)
    figure.tight_layout()
    figure.savefig(OUT / "waves.png", dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--iterations", type=int, default=1000)
    parser.add_argument("--minutes", type=float, default=60, help="Then stop; run it again.")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    OUT.mkdir(parents=True, exist_ok=True)
    problem = problem_of(arguments.iterations)
    results = few_shots.run(
        OUT, lambda _: problem, (5, 10), METHODS, arguments.seeds, N_TASKS, arguments.minutes
    )
    command = (
        f"python scripts/studies/few_shot_sines.py --seeds {arguments.seeds} "
        f"--iterations {arguments.iterations}"
    )
    (OUT / "README.md").write_text(
        HEADER.format(
            iterations=f"{arguments.iterations:,}",
            n_tasks=N_TASKS,
            queries=problem.queries,
            seeds=results["seed"].nunique(),
            command=command,
            table=few_shots.table(results, (1, 5, 10), 2),
            paired=few_shots.paired(results, "from scratch", 2),
        )
    )
    few_shots.plot(results, "squared error", OUT / "curves.png", top=5)
    draw_waves(arguments.iterations)


if __name__ == "__main__":
    main()
