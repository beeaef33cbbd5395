"""Time and memory of an audit by the number of rows: scripts/bench scale [--rows 1000 10000 ...].

Each audit runs in a process of its own on a made-up table of 40 columns and 6 targets of mixed
kinds, with the default time limit. `scale.csv` has its wall time, processor time and peak memory,
and the processor time divided by that of one training of all tasks (the recorded run's without its
measurements), which depends less on the machine. `load` is the mean number of processes that
wanted a core in the last five minutes.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from matplotlib.figure import Figure
from pyarrow import parquet

OUT = Path(__file__).parents[2] / "reports/bench/scale"
TARGETS = "number,heavy,binary,rare,colour,gaps"
PART = 500_000  # rows written at once
LEVELS = (3, 5, 8, 12, 20, 40, 100, 500, 5_000, 50_000)


def make_table(n_rows: int, path: Path) -> None:
    """30 numbers, 10 categories with up to 50,000 levels, and 6 targets that share features.

    Written part by part, so that a table of any length takes little memory.
    """
    random = np.random.default_rng(0)
    truth = {
        "features": random.normal(size=(30, 8)) / 5,
        "targets": random.normal(size=(3, 8)),
        **{f"c{n_levels}": 0.3 * random.normal(size=n_levels) for n_levels in LEVELS},
    }
    writer = None
    for start in range(0, n_rows, PART):
        part = _part(min(PART, n_rows - start), truth, random)
        writer = writer or parquet.ParquetWriter(path, part.schema)
        writer.write_table(part)
    assert writer is not None
    writer.close()


def _part(n_rows: int, truth: dict[str, np.ndarray], random: np.random.Generator) -> pa.Table:
    numbers = random.normal(size=(n_rows, 30)).astype(np.float32)
    features = np.tanh(numbers @ truth["features"])
    columns: dict[str, object] = {f"n{k}": numbers[:, k] for k in range(30)}
    effect = np.zeros(n_rows)
    for n_levels in LEVELS:
        weights = 1 / (1 + np.arange(n_levels))
        level = random.choice(n_levels, n_rows, p=weights / weights.sum())
        effect += truth[f"c{n_levels}"][level]
        columns[f"c{n_levels}"] = pa.array([f"v{k}" for k in range(n_levels)]).take(level)
    first, second, third = (
        features @ direction + share * effect + random.normal(size=n_rows)
        for direction, share in zip(truth["targets"], (1, 1, 0), strict=True)
    )
    columns["number"], columns["heavy"] = first, np.exp(1.5 * second)
    columns["binary"] = (second > 0).astype(int)
    columns["rare"] = (third > 3.5).astype(int)  # about 1 %
    cut = np.digitize(first + third, [-1, 0.5, 2])
    columns["colour"] = np.array(["red", "green", "blue", "black"])[cut]
    columns["gaps"] = np.where(random.random(n_rows) < 0.6, np.nan, first - third)
    return pa.table(columns)


def measure(n_rows: int, minutes: float, *more: str) -> dict[str, float]:
    """One audit: times, memory, and what was chosen to keep the limit."""
    with tempfile.TemporaryDirectory() as folder:
        table, run = Path(folder) / "table.parquet", Path(folder) / "run"
        make_table(n_rows, table)
        call = "from affinity.cli import main; main()"
        arguments = ["audit", str(table), "--targets", TARGETS, "--time-limit", str(minutes)]
        arguments += more
        start = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-c", call, *arguments, "--out", str(run), "--quiet"]
        )
        _, code, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        if code != 0:
            raise SystemExit(f"The audit of {n_rows} rows ended with {code}.")
        record = json.loads((run / "run.json").read_text())
        plan, cost = record["time_plan"], record["stages"]["record"]["cost"]
        processor = usage.ru_utime + usage.ru_stime
        return {
            "rows": n_rows,
            "limit_minutes": minutes,
            "wall_seconds": round(wall, 1),
            "processor_seconds": round(processor, 1),
            "trainings": round(processor / max(cost["plain_seconds"], 1e-9), 1),
            "peak_gb": round(usage.ru_maxrss / 2**20, 2),
            "estimated_seconds": round(sum(plan["seconds"].values()), 1),
            "load": round(os.getloadavg()[1], 1),
            "used_share": plan["used_share"],
            "replicates": plan["replicates"],
            "all_baselines": plan["baselines"] == "all",
        }


def draw(table: pd.DataFrame, path: Path) -> None:
    """Processor time and peak memory by the number of rows."""
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    for axes, column, label in zip(
        figure.subplots(1, 2),
        ("processor_seconds", "peak_gb"),
        ("processor time, s", "peak memory, GB"),
        strict=True,
    ):
        axes.plot(table["rows"], table[column], "o-")
        axes.set(xscale="log", xlabel="rows", ylabel=label, ylim=(0, None))
    figure.savefig(path, dpi=120)


def main() -> None:
    """Measure each number of rows, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--minutes", type=float, default=10.0)
    options = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, float]] = []
    for n_rows in options.rows:
        rows.append(measure(n_rows, options.minutes))
        print(rows[-1], flush=True)
        table = pd.DataFrame(rows)
        table.to_csv(OUT / "scale.csv", index=False)
        draw(table, OUT / "scale.png")


if __name__ == "__main__":
    main()
