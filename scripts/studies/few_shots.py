"""Few-shot studies: runs that can be stopped and gone on with, their table and their pictures."""

import time
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path

import pandas as pd
from intervals import interval, markdown, shown
from matplotlib import pyplot as plt

from affinity.fewshot import FewShotMethod, FewShotProblem, compare_few_shot
from affinity.report import AdaptationCurves


def run(
    out: Path,
    problem_of: Callable[[int], FewShotProblem],
    shots: Sequence[int],
    methods: Mapping[str, FewShotMethod],
    seeds: int,
    n_tasks: int,
    minutes: float,
) -> pd.DataFrame:
    """One row a seed, shots, method and number of steps; what is in the file is not run again.

    Every seed has its own initial network, meta-training batches and meta-test tasks, which all
    methods share.
    """
    path, start = out / "results.csv", time.monotonic()
    results = pd.read_csv(path) if path.exists() else pd.DataFrame()
    keys = ["seed", "shots", "method"]
    done = set(results[keys].itertuples(index=False, name=None)) if len(results) else set()
    for seed, count, (name, method) in product(range(seeds), shots, methods.items()):
        if (seed, count, name) in done or time.monotonic() - start > 60 * minutes:
            continue
        began = time.process_time()
        result = compare_few_shot(problem_of(seed), (count,), {name: method}, n_tasks, seed=seed)
        own = result.frame()[["shots", "method", "steps", "score"]].assign(seed=seed)
        own["seconds"] = round(time.process_time() - began, 1)
        results = pd.concat([results, own], ignore_index=True)
        results.to_csv(path, index=False)
        print(seed, count, name, own["score"].iloc[-1], own["seconds"].iloc[-1], flush=True)
    order = {name: at for at, name in enumerate(methods)}
    return results.sort_values(
        ["seed", "shots", "method", "steps"],
        key=lambda column: column.map(order) if column.name == "method" else column,
        ignore_index=True,
    )


def summary(results: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds with 95 % t intervals."""
    keys = ["shots", "method", "steps"]
    found = results.groupby(keys, sort=False)["score"].apply(interval).unstack().reset_index()
    return found.assign(
        score=found["mean"], low=found["mean"] - found["half"], high=found["mean"] + found["half"]
    )


def table(results: pd.DataFrame, steps: Sequence[int], digits: int) -> str:
    """A row a method, a column a number of shots and steps."""
    found = summary(results)
    rows = []
    for method in found["method"].unique():
        row = {"method": method}
        for shots in found["shots"].unique():
            own = found.query("method == @method and shots == @shots").set_index("steps")
            for step in steps:
                if step in own.index:
                    cell = shown(own.loc[step, "mean"], own.loc[step, "half"], digits)
                    row[f"K = {shots}, {step} step{'' if step == 1 else 's'}"] = cell
        rows.append(row)
    return markdown(pd.DataFrame(rows).fillna("not run"))


def paired(results: pd.DataFrame, baseline: str, digits: int) -> str:
    """How much more each method scores than a baseline after the last step, seed by seed."""
    last = results[results["steps"] == results["steps"].max()]
    scores = last.pivot(index=["shots", "seed"], columns="method", values="score")
    rows = []
    for method in last["method"].unique():
        if method == baseline:
            continue
        more = (scores[method] - scores[baseline]).groupby("shots").apply(interval).unstack()
        rows.append(
            {"method": method}
            | {
                f"K = {shots}": f"{found['mean']:+.{digits}f} ± {found['half']:.{digits}f}"
                for shots, found in more.iterrows()
            }
        )
    return markdown(pd.DataFrame(rows))


def plot(results: pd.DataFrame, score: str, path: Path, top: float | None = None) -> None:
    """A panel a number of shots."""
    found = summary(results)
    shots = list(found["shots"].unique())
    figure, panels = plt.subplots(1, len(shots), figsize=(5 * len(shots) + 1.6, 4), sharey=True)
    for axes, each in zip(panels, shots, strict=True):
        own = found[found["shots"] == each]
        AdaptationCurves(own, score, f"K = {each}").plot(axes)
        if each != shots[-1]:
            axes.get_legend().remove()
            continue
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
        axes.set_ylabel("")
        if top is not None:
            axes.set_ylim(0, top)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
