"""The report: every table and method, the mean over tables, and shares against their cost."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from affinity.files import write_atomically

from .measure import Judged
from .shares import Shares, rows, shares

mpl.use("agg")
from matplotlib import pyplot as plt

MARK = "<!-- made by a script from here on -->"


def write_report(
    judged: list[Judged], folder: Path, command: str, paired: Sequence[str] = ()
) -> None:
    """Write ``fidelity.csv``, ``share_and_cost.png`` and the made part of ``README.md``."""
    found = pd.DataFrame([row for each in judged for row in rows(each)])
    write_atomically(folder / "fidelity.csv", found.to_csv(index=False))
    every = [shares(each, budget) for each in judged for budget in each.budgets]
    means = mean_over_tables(every)
    _plot(judged, every, means, folder / "share_and_cost.png")
    made_part(folder / "README.md", _made(judged, every, means, found, command, paired))


def made_part(readme: Path, made: str) -> None:
    """Replace what follows the mark; what stands before it is written by hand."""
    written = readme.read_text() if readme.exists() else ""
    kept = written.partition(MARK)[0].rstrip()
    write_atomically(readme, f"{kept}\n\n{MARK}\n\n{made}\n".lstrip())


def mean_over_tables(every: list[Shares]) -> pd.DataFrame:
    """Mean attained share of each method over the tables and budgets with something to choose.

    Each table counts once: the mean over its budgets. The interval draws replicates of each table
    with replacement; it does not say how the method would do on other tables.
    """
    methods = dict.fromkeys(name for each in every if each.is_choice for name in each.methods)
    found = [{"method": name, **_mean(every, (name,), (1,))} for name in methods]
    return pd.DataFrame(found, columns=["method", "tables", "share", "low", "high"])


def differences(every: list[Shares], method: str) -> pd.DataFrame:
    """How much more of the share a method attains than each other, on tables where both decided.

    Paired: both decide on the same halvings, and the interval draws the same replicates for both.
    """
    others = dict.fromkeys(name for each in every if each.is_choice for name in each.methods)
    found = [
        {"against": name, **_mean(every, (method, name), (1, -1))}
        for name in others
        if name != method
    ]
    return pd.DataFrame(found, columns=["against", "tables", "share", "low", "high"])


def _mean(
    every: list[Shares], methods: tuple[str, ...], signs: tuple[int, ...]
) -> dict[str, float]:
    """Signed sum of the methods' shares, with a 95 % interval."""
    by_table: dict[str, list[tuple[float, NDArray[np.float64]]]] = {}
    for each in every:
        if each.is_choice and set(methods) <= set(each.methods):
            at = [each.methods.index(name) for name in methods]
            share = float(np.dot(signs, each.share[at]))
            by_table.setdefault(each.table, []).append((share, np.dot(signs, each.draws[at])))
    shares = [np.mean([share for share, _ in own]) for own in by_table.values()]
    draws = [np.mean([draw for _, draw in own], axis=0) for own in by_table.values()]
    low, high = np.quantile(np.mean(draws, axis=0), [0.025, 0.975]) if draws else (np.nan, np.nan)
    share = float(np.mean(shares)) if shares else np.nan
    return {"tables": len(by_table), "share": share, "low": float(low), "high": float(high)}


def _made(
    judged: list[Judged],
    every: list[Shares],
    means: pd.DataFrame,
    found: pd.DataFrame,
    command: str,
    paired: Sequence[str],
) -> str:
    nothing: dict[str, list[str]] = {}
    for each in every:
        if not each.is_choice and each.budget > 1:
            nothing.setdefault(each.table, []).append(str(each.budget))
    listed = "; ".join(f"{table} at {', '.join(at)}" for table, at in nothing.items()) or "none"
    sections = [
        f"    {command}",
        "## Mean over tables\n\nAttained share with 95 % intervals, trainings and seconds a "
        "decision, and on how many tables and budgets the choice is significantly worse than the "
        "better of all-in-one and separate, at all and by more than 1 %.\n\n"
        f"{markdown(_overall(judged, means, found))}",
        f"Nothing to choose, and so not in the mean: {listed}; and every table at budget 1, where "
        "all-in-one is the only grouping.",
        "![Attained share against trainings](share_and_cost.png)",
        *(
            f"## {method} against the others\n\nDifference of attained shares, paired over "
            f"replicates.\n\n{markdown(_shown(differences(every, method)))}"
            for method in paired
        ),
        *(_table(each, found[found["table"] == each.table]) for each in judged),
    ]
    return "\n\n".join(sections)


def _overall(judged: list[Judged], means: pd.DataFrame, found: pd.DataFrame) -> pd.DataFrame:
    lines: list[dict[str, object]] = []
    for mean in means.sort_values("share", ascending=False).to_dict("records"):
        own = found[found["method"] == mean["method"]]
        sizes = own["table"].map({each.table: each.n_tasks for each in judged})
        lines.append(
            {
                "method": mean["method"],
                "attained share": f"{mean['share']:+.2f} ({mean['low']:+.2f}, {mean['high']:+.2f})",
                "tables": mean["tables"],
                "trainings / T": f"{(own['trainings'] / sizes).mean():.1f}",
                "seconds": f"{own['seconds'].mean():.1f}",
                "does harm": f"{int((own['harm_high'] < -1e-9).sum())} of {len(own)}",
                "more than 1 %": int((own["harm_high"] < -0.01).sum()),
            }
        )
    return pd.DataFrame(lines)


def _shown(found: pd.DataFrame) -> pd.DataFrame:
    shares = [
        f"{s:+.2f} ({a:+.2f}, {b:+.2f})" for s, a, b in found[["share", "low", "high"]].values
    ]
    return found[["against", "tables"]].assign(difference=shares)


def _table(judged: Judged, own: pd.DataFrame) -> str:
    lines: list[dict[str, object]] = []
    for method in own["method"].unique():
        here = own[own["method"] == method].set_index("budget")
        spearman = here["per_task_spearman"].iloc[0]
        line: dict[str, object] = {
            "method": method,
            "Spearman": "" if pd.isna(spearman) else f"{spearman:+.2f}",
            "trainings": f"{here['trainings'].mean():.0f}",
        }
        for budget in judged.budgets[1:]:
            row = here.loc[budget]
            share = row["attained_share"]
            mark = " !" if row["harm_high"] < -1e-9 else ""
            shown = "" if pd.isna(share) else f"{share:+.2f} "
            line[f"{budget}: share, harm in %"] = f"{shown}{100 * row['harm']:+.1f}{mark}"
        lines.append(line)
    return (
        f"### {judged.table}\n\n{judged.n_tasks} tasks, {len(judged.random[1])} "
        f"{'draws of a replay' if judged.is_replay else 'replicates'}; ceiling of the Spearman "
        f"correlation {judged.ceiling:.2f}.\n\n{markdown(pd.DataFrame(lines))}"
    )


def _plot(judged: list[Judged], every: list[Shares], means: pd.DataFrame, path: Path) -> None:
    tables = [each for each in judged if any(s.is_choice and s.table == each.table for s in every)]
    count = len(tables) + 1
    columns = min(4, count)
    lines = -(-count // columns)
    figure, axes = plt.subplots(
        lines,
        columns,
        figsize=(3.6 * columns + 2.6, 3 * lines),
        squeeze=False,
        layout="constrained",
    )
    names = means["method"].tolist()
    colours = dict(zip(names, plt.get_cmap("tab20")(np.arange(len(names)) % 20), strict=True))
    markers = "osD^v<>PXp*h"
    for axis, shown in zip(axes.flat, [None, *tables], strict=False):
        for number, name in enumerate(names):
            chosen = [shown] if shown else tables
            cost = [
                each.choices[name, 2].trainings / each.n_tasks
                for each in chosen
                if (name, 2) in each.choices
            ]
            own = [
                each.share[each.methods.index(name)]
                for each in every
                if each.is_choice
                and name in each.methods
                and (shown is None or each.table == shown.table)
            ]
            if not cost or not own:
                continue
            height = np.mean(own) if shown else means["share"].iloc[number]
            axis.plot(
                np.mean(cost) + 0.05,
                max(-1.5, height),
                markers[number % len(markers)],
                color=colours[name],
                label=name,
                alpha=0.9,
            )
        axis.set_xscale("log")
        axis.set_ylim(-1.6, 1.15)
        axis.axhline(0, color="grey", linewidth=0.8)
        axis.axhline(1, color="grey", linewidth=0.8, linestyle=":")
        axis.set_title(shown.table if shown else "mean over tables", fontsize=10)
        axis.tick_params(labelsize=8)
    for axis in list(axes.flat)[count:]:
        axis.set_axis_off()
    figure.supxlabel("trainings a task (log scale; 0.05: none)", fontsize=10)
    figure.supylabel("attained share, mean over budgets (below -1.5 drawn there)", fontsize=10)
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", fontsize=9)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def markdown(frame: pd.DataFrame) -> str:
    """A table."""
    lines = [list(map(str, frame.columns)), ["---"] * len(frame.columns)]
    lines += [[str(value) for value in row] for row in frame.itertuples(index=False)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
