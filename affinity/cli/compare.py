"""`affinity compare`: two audits of the same tasks side by side."""

from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from scipy import stats

from affinity.audit import Audit
from affinity.errors import InputError
from affinity.storage import to_jsonable

from .run_directory import RunDirectory
from .run_files import MEASUREMENTS
from .stages.report import holdout_of
from .summary import COLOURS


def compare_runs(first: Path, second: Path) -> dict[str, Any]:
    """Verdict and gain a task in both runs, and how far their affinities agree.

    Raises:
        InputError: If a folder holds no finished audit, or they share no task.
    """
    audits = [_audit(first), _audit(second)]
    verdicts = [audit.verdicts for audit in audits]
    both = [task for task in verdicts[0] if task in verdicts[1]]
    if not both:
        raise InputError(
            f"Expected two audits of the same tasks, but {str(first)!r} has {list(verdicts[0])} "
            f"and {str(second)!r} has {list(verdicts[1])}."
        )
    return {
        "runs": [str(first), str(second)],
        "advice": [audit.advice for audit in audits],
        "networks": [
            [sorted(network.served) for network in audit.plan.grouping.networks] for audit in audits
        ],
        "tasks": [
            {
                "name": task,
                "verdict": [each[task].verdict for each in verdicts],
                "gain": [_finite(each[task].gain) for each in verdicts],
                "low": [_finite(each[task].low) for each in verdicts],
                "high": [_finite(each[task].high) for each in verdicts],
            }
            for task in both
        ],
        "only_in": [[task for task in each if task not in both] for each in verdicts],
        "affinity_correlation": _affinity_correlation(*audits),
        "outer": [
            None
            if (holdout := holdout_of(RunDirectory(path))) is None
            else to_jsonable(holdout.summary())
            for path in (first, second)
        ],
    }


def show_comparison(console: Console, comparison: dict[str, Any]) -> None:
    """A row a task, then the plans."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("task")
    for heading in ("gain A", "verdict A", "gain B", "verdict B"):
        table.add_column(heading, justify="right" if heading.startswith("gain") else "left")
    for row in comparison["tasks"]:
        cells: list[str] = []
        for gain, verdict in zip(row["gain"], row["verdict"], strict=True):
            cells += ["" if gain is None else f"{gain:+.1%}", f"[{COLOURS[verdict]}]{verdict}"]
        table.add_row(escape(row["name"]), *cells)
    console.print(table)
    for letter, run, advice, networks in zip(
        "AB", comparison["runs"], comparison["advice"], comparison["networks"], strict=True
    ):
        shown = " | ".join(", ".join(served) for served in networks)
        console.print(f"{letter}: {escape(run)}; advice {advice}; plan: {escape(shown)}")
    for letter, outer in zip("AB", comparison["outer"], strict=True):
        if outer is not None:
            console.print(_over_draws(letter, outer))
    if comparison["outer"].count(None) == 1:
        console.print("One of them alone has other draws of the test rows: affinity audit --outer.")
    if comparison["affinity_correlation"] is not None:
        console.print(
            f"Rank correlation of their affinities: {comparison['affinity_correlation']:+.2f}"
        )


def write_page(first: Path, second: Path) -> Path:
    """The page that compares both, in the first run's folder.

    Raises:
        InputError: If a folder holds no finished audit, or they share no task.
    """
    from affinity.report import write_comparison

    page = first / "comparison.html"
    names = (first.resolve().name, second.resolve().name)
    return write_comparison(_audit(first), _audit(second), page, names)


def _over_draws(letter: str, outer: dict[str, Any]) -> str:
    """What deciding anew on every draw of the test rows is worth, in a line."""
    ways: list[str] = []
    for followed in ("plan", "advice"):
        found = outer[f"as_{followed}"]
        words = "as planned" if followed == "plan" else "as advised"
        interval = "" if found["low"] is None else f" ({found['low']:+.1%} to {found['high']:+.1%})"
        colour = COLOURS[found["verdict"]]
        ways.append(
            f"{words} [{colour}]{found['verdict']}[/{colour}] {found['gain']:+.1%}{interval}"
        )
    draws, (plan, *_), (advice, *_) = len(outer["splits"]), outer["plans"], outer["advices"]
    return (
        f"{letter}, over {draws} draws of the test rows: {', '.join(ways)}; one plan on "
        f"{plan['times']}, advice {advice['advice']} on {advice['times']} of {draws}"
    )


def _audit(path: Path) -> Audit:
    run = RunDirectory(path)
    run.require("retrain")
    return Audit.load(run.file(MEASUREMENTS))


def _affinity_correlation(first: Audit, second: Audit) -> float | None:
    a, b = first.matrix, second.matrix
    if a is None or b is None or set(a.tasks) != set(b.tasks):
        return None
    pairs = [(s, t) for s in a.tasks for t in a.tasks if s != t]
    values = np.array([(a.between(s, t), b.between(s, t)) for s, t in pairs])
    values = values[np.isfinite(values).all(axis=1)]
    if len(values) < 3 or (np.ptp(values, axis=0) == 0).any():
        return None
    return float(stats.spearmanr(values[:, 0], values[:, 1]).statistic)  # pyright: ignore[reportAttributeAccessIssue]


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
