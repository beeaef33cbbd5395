"""Calibration of the verdicts: false alarms where there is no effect, power where there is one.

scripts/calibration --audits 200 --json
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from shutil import rmtree
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import torch
from null_audits import A_DRAW, DRAWS, N_DEVELOPMENT, N_TEST, NAMES, NULLS, audits, planted
from scipy import stats

from affinity import Gains, NegativeTransferTest
from affinity.audit.repeated_holdout import estimate_over_splits

mpl.use("agg")
from matplotlib import pyplot as plt

ROOT = Path(__file__).parents[2]
ENOUGH = 200
"""Audits from which rates are worth keeping in the reports."""
KEPT = ROOT / "build/calibration"
"""Losses of trained audits: verdicts that are reached otherwise are measured without training."""
PARTS = ("scores", "baseline", "score_blocks", "baseline_blocks")
COUNTS = (5, 10)
LOOKS = ((3, 0.3), (5, 0.5), (10, 1.0))
EFFECTS = (0.01, 0.02, 0.05)
AT_ONCE = 8  # audits trained together
TEST = NegativeTransferTest()
ALARMS = ("harmful", "beneficial")


def train(numbers: Sequence[int]) -> None:
    """Audits that are not there yet, each into a file of its own: a killed run goes on there."""
    KEPT.mkdir(parents=True, exist_ok=True)
    start = time.process_time()
    for at in range(0, len(numbers), AT_ONCE):
        some = numbers[at : at + AT_ONCE]
        for number, found in zip(some, audits(some, COUNTS[-1]), strict=True):
            arrays = {
                f"{null}/{part}": getattr(gains, part).numpy()
                for null, gains in found.items()
                for part in PARTS
            }
            unfinished = KEPT / "unfinished.npz"
            np.savez(unfinished, **arrays)
            unfinished.rename(kept(number))
        spent = time.process_time() - start
        print(f"{at + len(some)} of {len(numbers)} audits, {spent:.0f} s", file=sys.stderr)


def kept(number: int) -> Path:
    return KEPT / f"{number}.npz"


def restored(number: int) -> dict[str, Gains]:
    with np.load(kept(number)) as arrays:
        return {
            null: Gains(
                NAMES, **{part: torch.from_numpy(arrays[f"{null}/{part}"]) for part in PARTS}
            )
            for null in NULLS
        }


def judged(found: dict[str, Gains]) -> Iterator[dict[str, Any]]:
    """What every test says of one audit."""
    draws = found["mirrored, outer draws"]
    yield {"null": "mirrored, outer draws", "test": "outer draws", "replicates": DRAWS} | outer(
        draws
    )
    for null, gains in found.items():
        if gains is draws:
            continue
        for count in COUNTS:
            some = gains.first(count)
            alone = replace(some, score_blocks=None, baseline_blocks=None)
            for name, each in (("two levels", some), ("replicates alone", alone)):
                yield {"null": null, "test": name, "replicates": count, **alarms(TEST, each)}
            yield {"null": null, "test": "bootstrap", "replicates": count, **excluded(some)}
        patient = replace(TEST, looks=LOOKS)
        yield {"null": null, "test": "growing", "replicates": COUNTS[-1], **alarms(patient, gains)}
    for effect in EFFECTS:
        gains = planted(found["duplicate"], effect)
        for count in COUNTS:
            yield {"effect": effect, "replicates": count, **power(TEST, gains.first(count))}
        patient = replace(TEST, looks=LOOKS)
        yield {"effect": effect, "replicates": f"up to {COUNTS[-1]}", **power(patient, gains)}


def alarms(test: NegativeTransferTest, gains: Gains) -> dict[str, Any]:
    named = [each.verdict for each in test(gains)]
    return {
        "any task": any(verdict in ALARMS for verdict in named),
        "all tasks together": test.overall(gains).verdict in ALARMS,
        "a task": float(np.mean([p < 0.05 for p in raw(gains)])),
        "gain": float(gains.overall().mean()),
    }


def outer(gains: Gains) -> dict[str, Any]:
    """How often intervals over draws of the test rows leave out 0."""
    parts = [gains.of_replicates(range(at, at + A_DRAW)) for at in range(0, DRAWS * A_DRAW, A_DRAW)]
    tasks = np.array([list(part.by_task().values()) for part in parts])
    share = N_TEST / (N_TEST + N_DEVELOPMENT)
    shown: dict[str, float] = {}
    for of, values in (("a task", tasks), ("all tasks together", tasks.mean(axis=1)[:, None])):
        low, high = estimate_over_splits(values, share).interval()
        shown[of] = float(np.mean((low > 0) | (high < 0)))
    return {**shown, "gain": float(tasks.mean())}


def raw(gains: Gains) -> np.ndarray:
    """Unadjusted p-values, for which intervals of 95 % leave out 0."""
    low, high = gains.estimate().interval()
    return np.where((low > 0) | (high < 0), 0.0, 1.0)


def bootstrap(
    blocks: np.ndarray,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap interval of a mean over replicates and blocks of test rows.

    Both are drawn with replacement. The variance of a resampled mean of R values is too small by a
    factor of (R - 1) / R and it has no heavy tails, while the variance of single rows counts twice.
    Therefore verdicts use `estimate`; `reports/calibration` measures both.
    """
    random = np.random.default_rng(seed)
    n_replicates, n_blocks = blocks.shape
    of_replicates = random.multinomial(n_replicates, [1 / n_replicates] * n_replicates, draws)
    of_blocks = random.multinomial(n_blocks, [1 / n_blocks] * n_blocks, draws)
    means = ((of_replicates @ blocks) * of_blocks).sum(axis=1) / (n_replicates * n_blocks)
    low, high = np.quantile(means, [0.5 - level / 2, 0.5 + level / 2])
    return float(low), float(high)


def excluded(gains: Gains) -> dict[str, Any]:
    """How often the bootstrap's intervals leave out 0."""
    ratio = gains.estimate()
    assert ratio.difference_blocks is not None
    assert ratio.baseline_blocks is not None
    mean = ratio.mean[:, None]
    blocks = mean + ratio.difference_blocks - mean * ratio.baseline_blocks  # linearized at the mean
    ends = [bootstrap(blocks[:, at], draws=400) for at in range(blocks.shape[1])]
    return {"a task": float(np.mean([low > 0 or high < 0 for low, high in ends]))}


def power(test: NegativeTransferTest, gains: Gains) -> dict[str, Any]:
    named = [each.verdict for each in test(gains)]
    return {
        "a task": float(np.mean([verdict == "beneficial" for verdict in named])),
        "all tasks together": test.overall(gains).verdict == "beneficial",
        "wrong": any(verdict == "harmful" for verdict in named),
        "detectable": float(np.median([each.detectable for each in test(gains)])),
    }


def share(values: pd.Series) -> dict[str, float]:
    """A share with its 95 % Wilson interval; each task of an audit counts as one."""
    values = values.dropna().astype(float)
    count = len(values)
    result = stats.binomtest(round(float(values.sum())), count).proportion_ci(method="wilson")
    return {"rate": float(values.mean()), "low": float(result.low), "high": float(result.high)}


def summary(records: pd.DataFrame) -> dict[str, Any]:
    nulls, effects = records[records["null"].notna()], records[records["effect"].notna()]
    rates = [
        {
            "null": null,
            "test": test,
            "replicates": int(count),
            "of": of,
            **share(rows[of]),
        }
        for (null, test, count), rows in nulls.groupby(["null", "test", "replicates"], sort=False)
        for of in ("any task", "all tasks together", "a task")
        if rows[of].notna().any()
    ]
    found = [
        {
            "effect": effect,
            "replicates": count,
            "of": of,
            **share(rows[of]),
            "detectable": float(rows["detectable"].median()),
        }
        for (effect, count), rows in effects.groupby(["effect", "replicates"], sort=False)
        for of in ("a task", "all tasks together", "wrong")
    ]
    truth = nulls.groupby("null", sort=False)["gain"]
    return {
        "audits": int(records["audit"].nunique()),
        "nulls": NULLS,
        "mean gain": {
            name: {"mean": values.mean(), "error": values.std() / np.sqrt(values.size)}
            for name, values in (
                (name, series.dropna().groupby(level=0).mean()) for name, series in truth
            )
        },
        "rates": rates,
        "power": found,
    }


def picture(result: dict[str, Any], path: Path) -> None:
    """False alarms for any of the tasks, and how often planted effects are found."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.4), width_ratios=(3, 2))
    frame = pd.DataFrame(result["rates"]).query("of == 'any task'")
    kinds = [("replicates alone", 5), ("replicates alone", 10)]
    kinds += [("two levels", 5), ("two levels", 10), ("growing", 10)]
    for shift, (test, count) in enumerate(kinds):
        rows = frame[(frame["test"] == test) & (frame["replicates"] == count)]
        places = np.arange(len(rows)) + 0.15 * (shift - 2)
        label = f"{test}, {count} replicates" if test != "growing" else "two levels, 3 looks"
        reach = np.abs(rows[["low", "high"]].to_numpy().T - rows["rate"].to_numpy())
        left.errorbar(places, rows["rate"], reach, fmt="os^vD"[shift], label=label, ms=4)
    left.axhline(0.05, color="black", linewidth=0.8)
    names = frame["null"].unique().tolist()
    left.set_xticks(range(len(names)), [name.replace(" ", "\n", 1) for name in names])
    left.set_ylabel("audits with a false alarm")
    left.legend(fontsize=7)
    found = pd.DataFrame(result["power"]).query("of == 'a task'")
    for count, rows in found.groupby("replicates", sort=False):
        reach = np.abs(rows[["low", "high"]].to_numpy().T - rows["rate"].to_numpy())
        right.errorbar(rows["effect"], rows["rate"], reach, fmt="o-", label=f"{count}", ms=4)
    right.set_xticks(EFFECTS, [f"{effect:.0%}" for effect in EFFECTS])
    right.set_xlabel("planted gain")
    right.set_ylabel("tasks found beneficial")
    right.legend(title="replicates", fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--audits", type=int, default=200)
    parser.add_argument("--json", action="store_true", help="rates with intervals, to stdout")
    parser.add_argument(
        "--out",
        type=Path,
        help=f"reports/calibration; runs/calibration with fewer than {ENOUGH} audits",
    )
    parser.add_argument("--fresh", action="store_true", help="train again what was trained before")
    options = parser.parse_args()
    is_enough = options.audits >= ENOUGH
    out: Path = options.out or ROOT / ("reports" if is_enough else "runs") / "calibration"
    out.mkdir(parents=True, exist_ok=True)
    if options.fresh:
        rmtree(KEPT, ignore_errors=True)
    numbers = range(options.audits)
    train([number for number in numbers if not kept(number).exists()])
    records = pd.DataFrame(
        {"audit": number, **record} for number in numbers for record in judged(restored(number))
    )
    result = summary(records.set_index("audit", drop=False))
    for part in ("rates", "power"):
        frame = pd.DataFrame(result[part]).round(4)
        frame.to_csv(out / f"{part}.csv", index=False)
        if not options.json:
            print(frame.to_string(index=False))
    picture(result, out / "rates.png")
    (out / "calibration.json").write_text(json.dumps(result, indent=1) + "\n")
    if options.json:
        print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
