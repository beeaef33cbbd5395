"""MMoE's synthetic recipe: five ways of sharing against the relatedness of two tasks.

python scripts/studies/mmoe_synthetic.py --seeds 20
"""

import argparse
import time
from collections.abc import Callable, Iterable
from itertools import product

import matplotlib as mpl
import pandas as pd
import torch
from intervals import ROOT, interval, markdown, shown
from mmoe_recipe import SUITES, label_pearson, mmoe_recipe
from torch import nn

from affinity.sharing import HardSharing, MMoE, Perceptron, Separate, Sharing
from affinity.tasks import Task
from affinity.training import Member, TrainingSettings, train_members

mpl.use("agg")
from matplotlib import pyplot as plt

OUT = ROOT / "reports/sharing/mmoe_synthetic"
CORRELATIONS = (1.0, 0.9, 0.5, 0.0)
SETTINGS = TrainingSettings(epochs=60, batch_size=256, learning_rate=2e-3, patience=8)
N_FEATURES, TOWER = 100, 8
BOTH = frozenset({"first", "second"})


def head(width: int) -> Callable[[Task], nn.Module]:
    return lambda task: nn.Sequential(
        nn.Linear(width, TOWER), nn.ReLU(), nn.Linear(TOWER, task.n_outputs)
    )


def trunk(width: int) -> Callable[[], nn.Module]:
    return lambda: Perceptron(N_FEATURES, width=width, depth=1)


def mixture(n_gates: int) -> Callable[[Iterable[Task]], Sharing]:
    return lambda tasks: MMoE(tasks, trunk(16), head(16), N_FEATURES, n_experts=8, n_gates=n_gates)


MODELS: dict[str, Callable[[Iterable[Task]], Sharing]] = {
    "shared bottom, 113": lambda tasks: HardSharing(tasks, trunk(113), head(113)),
    "one gate, 8 x 16": mixture(n_gates=1),
    "MMoE, 8 x 16": mixture(n_gates=2),
    "separate, 113 a task": lambda tasks: Separate(tasks, trunk(113), head(113)),
    "separate, 56 a task": lambda tasks: Separate(tasks, trunk(56), head(56)),
}


def run(seeds: int, n_rows: int, suites: list[str]) -> pd.DataFrame:
    """Train what is not yet in the results file; a killed study goes on where it was."""
    file = OUT / "results.csv"
    done = pd.read_csv(file) if file.exists() else pd.DataFrame(columns=["suite", "p", "model"])
    for suite, correlation in product((SUITES[name] for name in suites), CORRELATIONS):
        own = done[(done["suite"] == suite.name) & (done["p"] == correlation)]
        missing = {
            model: build for model, build in MODELS.items() if model not in set(own["model"])
        }
        if not missing:
            continue
        problems = [
            mmoe_recipe(correlation, suite, n_rows=n_rows, n_features=N_FEATURES, seed=seed)
            for seed in range(seeds)
        ]
        replicates = [problem.replicate(seed) for seed, problem in enumerate(problems)]
        members = [Member(BOTH, seed) for seed in range(seeds)]
        for model, build in missing.items():
            start = time.perf_counter()
            trained = train_members(build, problems[0].tasks, members, replicates, SETTINGS)
            rows = [
                {
                    "suite": suite.name,
                    "p": correlation,
                    "seed": seed,
                    "pearson": label_pearson(problem),
                    "model": model,
                    "parameters": result.n_parameters,
                    "mse": sum(result.test_loss.values()) / 2,
                    "epochs": result.epochs,
                }
                for seed, (problem, result) in enumerate(zip(problems, trained, strict=True))
            ]
            done = pd.concat([done, pd.DataFrame(rows)]) if len(done) else pd.DataFrame(rows)
            done.to_csv(file, index=False)
            print(
                suite.name, correlation, model, f"{time.perf_counter() - start:.0f} s", flush=True
            )
    return done


def report(results: pd.DataFrame, command: str) -> str:
    keys = ["suite", "p"]
    pearson = results.drop_duplicates([*keys, "seed"]).groupby(keys)["pearson"].apply(interval)
    table = results.groupby([*keys, "model"])["mse"].apply(interval).unstack()
    wide = results.pivot(index=[*keys, "seed"], columns="model", values="mse")
    pairs = [
        ("MMoE, 8 x 16", "shared bottom, 113"),
        ("MMoE, 8 x 16", "one gate, 8 x 16"),
        ("shared bottom, 113", "separate, 56 a task"),
        ("shared bottom, 113", "separate, 113 a task"),
    ]
    sections = [HEADER.format(command=command, seeds=results["seed"].nunique())]
    done = {tuple(key) for key in results[keys].drop_duplicates().to_numpy()}
    missing = [f"{suite}, p = {p:g}" for suite in SUITES for p in CORRELATIONS]
    missing = [name for name in missing if name not in {f"{s}, p = {p:g}" for s, p in done}]
    if missing:
        sections.append(f"Not trained yet: {'; '.join(missing)}.")
    for suite in results["suite"].unique():
        means = []
        differences = []
        for p in sorted(results[results["suite"] == suite]["p"].unique(), reverse=True):
            r = pearson.loc[(suite, p)]
            line = {"p": p, "label Pearson": shown(r["mean"], r["half"], 3)}
            for model in MODELS:
                entry = table.loc[(suite, p, model)]
                line[model] = shown(entry["mean"], entry["half"], 3)
            means.append(line)
            line = {"p": p}
            for one, other in pairs:
                entry = interval(wide.loc[(suite, p), one] - wide.loc[(suite, p), other])
                mark = " *" if abs(entry["mean"]) > entry["half"] else ""
                line[f"{one} minus {other}"] = shown(entry["mean"], entry["half"], 3) + mark
            differences.append(line)
        sections += [
            f"## {suite}\n\nTest MSE, mean of both tasks:\n\n{markdown(pd.DataFrame(means))}",
            "Paired differences in test MSE (below 0: the first is better; * the 95 % interval "
            f"excludes 0, not adjusted for the number of comparisons):\n\n"
            f"{markdown(pd.DataFrame(differences))}",
            _trend(wide, suite),
            _stuck(results[results["suite"] == suite]),
        ]
    return "\n\n".join(filter(None, sections)) + "\n"


def _trend(wide: pd.DataFrame, suite: str) -> str:
    """Does MMoE's advantage over the shared bottom grow as the tasks become less related?"""
    advantage = {
        p: wide.loc[(suite, p), "shared bottom, 113"] - wide.loc[(suite, p), "MMoE, 8 x 16"]
        for p in (1.0, 0.5)
    }
    change = interval(advantage[0.5] - advantage[1.0])
    grows = change["mean"] - change["half"] > 0
    shrinks = change["mean"] + change["half"] < 0
    verdict = (
        "The paper's trend appears"
        if grows
        else "The opposite of the paper's trend appears"
        if shrinks
        else "The paper's trend does **not** appear beyond seed noise"
    )
    return (
        f"{verdict}: from p = 1 to p = 0.5 the advantage of MMoE over the shared bottom changes "
        f"by {shown(change['mean'], change['half'], 3)} MSE (paired over seeds; the paper says "
        "that it grows)."
    )


def _stuck(results: pd.DataFrame) -> str:
    """Which trainings never left the start; they widen the intervals of their model."""
    median = results.groupby(["p", "model"])["mse"].transform("median")
    stuck = results[results["mse"] > 1.8 * median].groupby("model")["seed"].agg(list)
    n_each = len(results) // len(MODELS)
    named = [
        f"{model}: {len(seeds)} of {n_each} (seed{'s' * (len(set(seeds)) > 1)} "
        f"{', '.join(map(str, sorted(set(seeds))))})"
        for model, seeds in stuck.items()
    ]
    if not named:
        return ""
    return (
        "Trainings that ended above 1.8 times the median of their model and p, and widen its "
        f"interval: {'; '.join(named)}."
    )


HEADER = """# MMoE's synthetic recipe

Ma et al. (2018), section 3.2 and 5.1, with the constants that the paper leaves open fixed by
`SUITES` of `scripts/studies/mmoe_recipe.py`. {seeds} seeds; a seed draws weights, rows and initial
parameters, and all models of a seed share them. Widths as in the paper: mixtures of 8 experts of 16
units, shared bottom of 113 units for as many parameters, towers of 8. Separate networks once with
the same width a task (113) and once with the same width in total (56); the paper has no separate
networks. One learning rate for all (the paper tunes it). Intervals are 95 % t intervals over seeds.

    {command}

![test error against relatedness](mse.png)"""


def plot(results: pd.DataFrame) -> None:
    suites = list(results["suite"].unique())
    figure, axes = plt.subplots(
        1, len(suites), figsize=(5.5 * len(suites), 4), squeeze=False, layout="constrained"
    )
    for axis, suite in zip(axes[0], suites, strict=True):
        for offset, model in enumerate(MODELS):
            own = results[(results["suite"] == suite) & (results["model"] == model)]
            summary = own.groupby("p")["mse"].apply(interval).unstack()
            axis.errorbar(
                summary.index + 0.012 * (offset - 2),
                summary["mean"],
                summary["half"],
                marker="o",
                capsize=3,
                label=model,
            )
        axis.set(xlabel="p, cosine of the tasks' weights", ylabel="test MSE", title=suite)
    labels = axes[0][0].get_legend_handles_labels()
    figure.legend(*labels, loc="outside lower center", ncols=len(MODELS), fontsize=8)
    figure.savefig(OUT / "mse.png", dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--rows", type=int, default=3000)
    parser.add_argument("--suites", default=",".join(SUITES))
    parser.add_argument("--report", action="store_true", help="Report what was trained; no more.")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    OUT.mkdir(parents=True, exist_ok=True)
    if arguments.report:
        results = pd.read_csv(OUT / "results.csv")
    else:
        results = run(arguments.seeds, arguments.rows, arguments.suites.split(","))
    command = (
        f"python scripts/studies/mmoe_synthetic.py --seeds {arguments.seeds} "
        f"--rows {arguments.rows} --suites {arguments.suites}"
    )
    (OUT / "README.md").write_text(report(results, command))
    plot(results)


if __name__ == "__main__":
    main()
