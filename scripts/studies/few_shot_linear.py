"""What a shared θ is worth, in closed form, by sampling, and to a learned initialization.

python scripts/studies/few_shot_linear.py --tasks 1000
"""

import argparse

import matplotlib as mpl
import numpy as np
import pandas as pd
import torch
from intervals import ROOT, interval, markdown, shown
from torch import nn

from affinity.fewshot import (
    MAML,
    Episodes,
    FewShotProblem,
    FromScratch,
    HierarchicalRegression,
    MetaTraining,
    Pretrained,
    Reptile,
    entropy,
)
from affinity.fewshot.hierarchical_regression import Moments
from affinity.fewshot.learner import task_losses
from affinity.fewshot.random_numbers import generator_of
from affinity.tasks import Examples

mpl.use("agg")
from matplotlib import pyplot as plt

OUT = ROOT / "reports/fewshot/linear"
MODEL = HierarchicalRegression()
OTHERS = (0, 1, 3, 10, 30, 100)
SHOTS = (1, 2, 5, 10, 20)
K = 5
ITERATIONS = 300
HEADER = """# What a shared θ is worth

Hierarchical Bayesian linear regression (`affinity.fewshot.HierarchicalRegression`): {features}
features, θ ~ N(0, {shared:g}² I), a task's parameters ~ N(θ, {own:g}² I), noise of deviation
{noise:g}; K = {k} rows of the new task are known. Everything is Gaussian, so that what can be
learned is known exactly.

    {command}

## Entropy of a new task's parameters, nats

Given its {k} rows and {k} rows of each of a number of other tasks; closed form, and the entropy of
the Gaussian with the covariance of {draws:,} draws of a Gibbs sampler that knows nothing of the
closed form (one draw of the data; the sampler draws θ and all tasks' parameters in turn).

{entropies}

## Squared error on new rows

Of the Bayesian who does not know θ, of the one who does, and of ten gradient steps from an
initialization that was meta-trained on {iterations} batches of 25 tasks. Mean over {tasks:,} new
tasks with 95 % intervals (one meta-training); the last column is the share of the Bayesian's gain
from knowing θ that each gains over learning from scratch. Noise alone is {noise_only:g}.

{losses}

A learned initialization gains what knowing θ gains, no more: no method can expect less error than
the Bayesian who knows θ. ("From scratch" may take 10 to 1,000 steps, chosen on other tasks; the
Bayesian who does not know θ is the best on average over all θ, which need not be so for the one θ
of this study.) The pretrained network is as good as MAML here, as the best line for all tasks is θ
itself; on [sine waves](../sines), whose mean is no wave, it is not.

![Squared error by the number of known rows](shots.png)

Bars are 95 % intervals; the grey line is the noise. At K = 20 learning from scratch is
better than ten steps from a learned initialization.
"""


def rows_of(episodes: Episodes) -> list[Examples]:
    return [
        Examples(inputs, targets.unsqueeze(1))
        for inputs, targets in zip(*episodes.parts[:2], strict=True)
    ]


def entropies(draws: int) -> pd.DataFrame:
    new, *others = rows_of(MODEL.draw(max(OTHERS) + 1, K, 1, generator_of(0, "entropies")))
    rows = []
    for count in OTHERS:
        told = others[:count]
        closed = MODEL.posterior(MODEL.prior_given(told), new)
        row = {"other tasks": str(count), "closed form": f"{entropy(closed):.2f}"}
        if count <= 10:
            sampled = MODEL.sample(new, told, draws, generator_of(0, "sampling"))
            spread = torch.from_numpy(np.cov(sampled.numpy().T))
            row["sampling"] = f"{entropy((sampled.mean(dim=0), spread)):.2f}"
        rows.append(row)
    known = entropy(MODEL.posterior(MODEL.prior(is_known=True), new))
    rows.append({"other tasks": "θ known", "closed form": f"{known:.2f}"})
    return pd.DataFrame(rows).fillna("not run")


def bayes(episodes: Episodes, prior: Moments) -> np.ndarray:
    """The loss on each task's queries of the posterior mean."""
    means = [MODEL.posterior(prior, rows)[0] for rows in rows_of(episodes)]
    errors = (episodes.query_inputs.double() @ torch.stack(means).unsqueeze(2)).squeeze(2)
    return (errors - episodes.query_targets).square().mean(dim=1).numpy()


def learners(shots: int, tasks: int) -> dict[str, np.ndarray]:
    """The loss of each method on each of the same new tasks."""
    problem = FewShotProblem(
        name="linear",
        training=MODEL,
        validation=MODEL,
        test=MODEL,
        trunk=nn.Identity,
        head=lambda task: nn.Linear(MODEL.n_features, task.n_outputs, bias=False),
        shots=shots,
        queries=10,
        steps=(10,),
        inner_rate=0.03,
        settings=MetaTraining(iterations=ITERATIONS, batch=25, learning_rate=0.1),
    )
    episodes = MODEL.draw(tasks, shots, 10, generator_of(1, "meta-test"))
    methods = {
        "from scratch": FromScratch(),
        "pretrained": Pretrained(),
        "Reptile": Reptile(),
        "MAML": MAML(),
    }
    losses = {
        name: task_losses(
            problem.task, method(problem, 0).predict(episodes, problem.steps), episodes
        )[-1].numpy()
        for name, method in methods.items()
    }
    return {
        "Bayes, θ unknown": bayes(episodes, MODEL.prior(is_known=False)),
        "Bayes, θ known": bayes(episodes, MODEL.prior(is_known=True)),
        **losses,
    }


def table(losses: dict[str, np.ndarray]) -> str:
    means = {name: interval(pd.Series(values)) for name, values in losses.items()}
    whole = means["Bayes, θ unknown"]["mean"] - means["Bayes, θ known"]["mean"]
    rows = []
    for name, found in means.items():
        reached = (means["from scratch"]["mean"] - found["mean"]) / whole
        is_learned = name in ("pretrained", "Reptile", "MAML")
        rows.append(
            {
                "method": name,
                "squared error": shown(found["mean"], found["half"], 2),
                "share of the gain": f"{reached:.0%}" if is_learned else "",
            }
        )
    return markdown(pd.DataFrame(rows))


def plot(by_shots: dict[int, dict[str, np.ndarray]]) -> None:
    figure, axes = plt.subplots(figsize=(7, 4))
    for name, mark in zip(by_shots[K], "osD^vP", strict=True):
        means = [interval(pd.Series(losses[name])) for losses in by_shots.values()]
        axes.errorbar(
            list(by_shots),
            [found["mean"] for found in means],
            [found["half"] for found in means],
            marker=mark,
            markersize=5,
            linestyle="--" if name.startswith("Bayes") else "-",
            label=name,
        )
    axes.axhline(MODEL.noise**2, color="grey", linewidth=0.8)
    axes.set(xscale="log", yscale="log", xlabel="known rows K", ylabel="squared error on new rows")
    axes.set_xticks(SHOTS, [str(each) for each in SHOTS])
    axes.minorticks_off()
    axes.legend(frameon=False, fontsize=8, loc="lower left")
    axes.set_ylim(0.2, 80)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(OUT / "shots.png", dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=1000)
    parser.add_argument("--draws", type=int, default=5000)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    OUT.mkdir(parents=True, exist_ok=True)
    by_shots = {shots: learners(shots, arguments.tasks) for shots in SHOTS}
    long = pd.DataFrame(
        [
            {"shots": shots, "method": name, "squared error": values.mean()}
            for shots, losses in by_shots.items()
            for name, values in losses.items()
        ]
    )
    long.to_csv(OUT / "losses.csv", index=False)
    (OUT / "README.md").write_text(
        HEADER.format(
            features=MODEL.n_features,
            shared=MODEL.shared,
            own=MODEL.own,
            noise=MODEL.noise,
            noise_only=MODEL.noise**2,
            k=K,
            iterations=ITERATIONS,
            tasks=arguments.tasks,
            draws=arguments.draws,
            command=f"python scripts/studies/few_shot_linear.py --tasks {arguments.tasks}",
            entropies=markdown(entropies(arguments.draws)),
            losses=table(by_shots[K]),
        )
    )
    plot(by_shots)


if __name__ == "__main__":
    main()
