"""The noise ceiling: how far two halves of the replicates agree on what groups gain."""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from .groupings import groupings_of, members
from .measure import per_task_spearman
from .measured import Measured, gains_of
from .report import made_part, markdown

HALVINGS = 50


def ceilings(measured: Measured, halvings: int = HALVINGS) -> dict[str, float]:
    """Spearman correlation of the mean gains of two random halves, mean over halvings.

    Over the groups of two and more within each task (mean over the tasks), over all cells of
    task and group at once, and over the groupings within each budget, whose gain is the mean over
    the tasks.
    """
    n_tasks, count = len(measured.tasks), measured.n_replicates
    member, groupings = members(n_tasks), groupings_of(n_tasks)
    together = member & (member.sum(axis=1) > 1)[:, None]
    gains = gains_of(measured.losses)
    generator = np.random.default_rng(0)
    found: dict[str, list[float]] = {}
    for _ in range(halvings):
        order = generator.permutation(count)
        one, other = (gains[half].mean(axis=0) for half in (order[::2], order[1::2]))
        found.setdefault("within tasks", []).append(per_task_spearman(one, other))
        found.setdefault("cells", []).append(_spearman(one[together], other[together]))
        totals = groupings.totals(one), groupings.totals(other)
        for budget in dict.fromkeys((2, 3, n_tasks)):
            allowed = groupings.within(budget)
            key = "groupings, T" if budget == n_tasks else f"groupings, {budget}"
            found.setdefault(key, []).append(_spearman(*(each[allowed] for each in totals)))
    return {key: float(np.mean(values)) for key, values in found.items()}


def spearman_brown(halves: float) -> float:
    """Agreement of the whole with as much again, from that of its halves: ``2 r / (1 + r)``."""
    return 2 * halves / (1 + halves)


def _spearman(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    return float(np.corrcoef(stats.rankdata(one), stats.rankdata(other))[0, 1])


def _line(measured: Measured) -> dict[str, object]:
    gains = gains_of(measured.losses).mean(axis=0)  # group task
    member = members(len(measured.tasks))
    pairs = gains[member.sum(axis=1) == 2]
    line: dict[str, object] = {
        "table": measured.table,
        "tasks": len(measured.tasks),
        "replicates": measured.n_replicates,
        "all-in-one gains": f"{100 * gains[-1].mean():+.1f} %",
        "pairs that hurt": f"{100 * np.mean(pairs[~np.isnan(pairs)] < 0):.0f} %",
    }
    for name, halves in ceilings(measured).items():
        line[name] = f"{halves:.2f} / {spearman_brown(halves):.2f}"
    line["seconds a training"] = f"{measured.seconds[:, 1:].mean():.2f}"
    return line


def _settings(folder: Path) -> dict[str, object]:
    settings = json.loads((folder / "settings.json").read_text())
    training = settings["training"]
    return {
        "table": folder.name,
        "tasks": ", ".join(settings["tasks"]),
        "development / test rows": f"{settings['development_rows']} / {settings['test_rows']}",
        "rows of a replicate": settings["resampling"],
        "epochs, patience, batch": f"{training['epochs']}, {training['patience']}, "
        f"{training['batch_size']}",
    }


def main() -> None:
    """Write the made part of ``README.md`` beside the tables of a folder."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "reports/truth")
    tables = sorted(path.parent for path in folder.glob("*/truth.csv.gz"))
    lines = pd.DataFrame([_line(Measured.read(table)) for table in tables])
    made = "\n\n".join(
        [
            "## Noise ceiling",
            markdown(lines),
            "## Settings",
            markdown(pd.DataFrame([_settings(table) for table in tables])),
        ]
    )
    made_part(folder / "README.md", made)


if __name__ == "__main__":
    main()
