"""Standley et al. (2020): the optimal networks of five tasks at every budget, and HOA's choice.

Networks are chosen on validation losses, overlap allowed, half-size networks of one task at half
the cost; the total test loss of the choice stands next to the published curve.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from affinity.grouping import Budget, CandidateGroup, Grouping, GroupScores, solve

DATA = Path("../shared/data/published/standley2020")
TASKS = ("semantic", "depth", "normals", "keypoints", "edges")
BUDGETS = tuple(np.arange(1.0, 5.01, 0.5).tolist())
FILES = {1: "results", 2: "results_large", 3: "results_small_data", 4: "results_alt"}
# Total test loss at budgets 1, 1.5, ..., 5 as printed by the authors' make_plots.py.
PUBLISHED = {
    (1, "optimal"): ".50278 .46132 .45224 .44612 .44235 .43932 .43555 .43555 .43481",
    (1, "hoa"): ".50278 .46132 .45474 .45050 .44875 .44489 .44112 .44552 .44196",
    (2, "optimal"): ".35989 .35478 .31733 .31450 .30606 .30490 .30190 .30190 .30167",
    (2, "hoa"): ".35989 .35758 .31733 .31562 .31177 .30525 .30190 .30190 .30187",
    (3, "optimal"): ".42998 .42275 .40857 .38776 .38352 .38352 .38249 .38249 .38249",
    (3, "hoa"): ".42998 .44778 .40887 .38776 .38352 .38682 .38574 .38574 .38471",
    (4, "optimal"): ".684042 .678697 .674597 .671067 .669696 .669696 .668986 .668986 .668986",
    (4, "hoa"): ".684042 .678697 .674597 .671067 .669696 .671867 .670496 .670496 .670496",
}


def losses(name: str) -> np.ndarray:
    """Losses of networks by tasks: first the five half-size ones in one row, then the full ones."""
    rows = [line.split("\t") for line in (DATA / f"{name}.txt").read_text().splitlines() if line]
    rows = [[cell.strip() for cell in row] + [""] * (len(TASKS) - len(row)) for row in rows]
    return np.array([[float(cell) if cell else np.nan for cell in row] for row in rows])


def hoa(measured: np.ndarray) -> np.ndarray:
    """The same with every larger network predicted: the mean loss over the pairs in it."""
    predicted = measured.copy()
    pairs = {
        tuple(np.flatnonzero(row)): measured[1:][index]
        for index, row in enumerate(np.isfinite(measured[1:]))
        if row.sum() == 2
    }
    for row in predicted[1:]:
        group = np.flatnonzero(np.isfinite(row)).tolist()
        if len(group) > 2:
            for task in group:
                partners = [other for other in group if other != task]
                row[task] = np.mean([pairs[tuple(sorted((task, p)))][task] for p in partners])
    return predicted


def candidates(table: np.ndarray) -> GroupScores:
    half, full = table[0], table[1:]
    small = [
        CandidateGroup({task: -loss}, cost=0.5, variant="half-size")
        for task, loss in zip(TASKS, half.tolist(), strict=True)
    ]
    large = [
        CandidateGroup(
            {TASKS[task]: -float(row[task]) for task in np.flatnonzero(np.isfinite(row))}
        )
        for row in full
    ]
    return GroupScores(TASKS, (*small, *large))


def total_loss(grouping: Grouping, table: np.ndarray) -> float:
    total = 0.0
    for network in grouping.networks:
        trained = np.array([task in network.trained for task in TASKS])
        same = (np.isfinite(table[1:]) == trained).all(axis=1)
        row = table[0] if network.variant else table[1:][same][0]
        total += sum(row[TASKS.index(task)] for task in network.served)
    return float(total)


def compare() -> pd.DataFrame:
    rows: list[dict[str, object]] = []
    for setting, name in FILES.items():
        validation, test = losses(name), losses(f"{name}_test")
        for method, table in (("optimal", validation), ("hoa", hoa(validation))):
            published = PUBLISHED[setting, method].split()
            for budget, expected in zip(BUDGETS, published, strict=True):
                found = solve(candidates(table), Budget(cost=budget), overlap=True)
                digits = len(expected) - 1
                ours = f"{total_loss(found, test):.{digits}f}"
                rows.append(
                    {
                        "setting": setting,
                        "method": method,
                        "budget": budget,
                        "test_loss": ours,
                        "published": f"0{expected}",
                        "same": ours == f"0{expected}",
                        "proven_optimal": found.is_optimal,
                        "networks": "; ".join(
                            "+".join(t + ("" if t in n.served else "*") for t in sorted(n.trained))
                            + (f" ({n.variant})" if n.variant else "")
                            for n in found.networks
                        ),
                    }
                )
    return pd.DataFrame(rows)


if __name__ == "__main__":
    if not DATA.exists():
        raise SystemExit(f"Expected the published tables in {DATA}, but there is no such folder.")
    table = compare()
    table.to_csv("reports/published/standley2020.csv", index=False)
    print(f"standley2020: {table['same'].sum()} of {len(table)} figures the same")
