"""The policy's regret: the way to share that it chooses, compared with always the same one.

On groups of tasks of several tables every way to share is measured at equal parameters. The policy
sees the selection rows of one half of the replicates; what it chose is judged on the test rows of
the other half, and the other way round. Regret is what the best way of that judging half gains
more, so that even the best fixed way has some.

python scripts/studies/policy.py measure [NAME ...]; python scripts/studies/policy.py report
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd
from intervals import ROOT

from affinity.audit import measure_sharing
from affinity.grouping import Grouping, Network
from affinity.problems import Problem, load_digits, load_table
from affinity.recommendation import MeasuredSharing, choose_sharing
from affinity.training import TrainingSettings

TABLES = ROOT.parent / "shared/data/tables"
OUT = ROOT / "reports/policy"
ROWS = {"digits": 0, "scene": 0, "yeast": 0, "sarcos": 1200, "air_quality": 1500, "adult": 1500}
REPLICATES = 6
WAYS = ("soft", "mmoe", "cross-stitch", "separate")
SETTINGS = TrainingSettings(epochs=30, patience=5, batch_size=64)


def problem_of(name: str) -> Problem:
    """A part of the table, in networks of width 32."""
    if name == "digits":
        return load_digits(width=32).with_settings(SETTINGS)
    about = json.loads((TABLES / "manifest.json").read_text())[name]
    table = pd.read_csv(TABLES / f"{name}.csv.gz")
    if ROWS[name]:
        table = table.sample(ROWS[name], random_state=0)
    targets = list(about["targets"])[:6]
    left_out = [*list(about["targets"])[6:], *filter(None, [about.get("split_column")])]
    problem = load_table(table, targets=targets, exclude=left_out, width=32)
    return replace(problem, name=name).with_settings(SETTINGS)


def groups_of(names: Sequence[str]) -> list[tuple[str, ...]]:
    """All tasks, a pair, and three others."""
    pairs = list(combinations(names, 2))
    return [tuple(names), pairs[0], tuple(names[2:5])]


def measure(name: str) -> None:
    """Every way to share of every group, one row per group, way and replicate."""
    file = OUT / "measured" / f"{name}.csv"
    problem = problem_of(name)
    done = pd.read_csv(file, keep_default_na=False) if file.exists() else pd.DataFrame()
    for group in groups_of(problem.names):
        label = ", ".join(group)
        if len(done) and label in set(done["group"]):
            continue
        rest = tuple(Network.of(task) for task in problem.names if task not in group)
        grouping = Grouping((Network.of(*group), *rest))
        (ways,) = measure_sharing(problem, grouping, REPLICATES, ways=WAYS).values()
        rows = [
            {
                "table": name,
                "group": label,
                "sharing": way.sharing,
                "replicate": replicate,
                "gain": gain,
                "test_gain": test_gain,
                "veto": way.veto or "",
            }
            for way in ways
            for replicate, (gain, test_gain) in enumerate(
                zip(way.gains, way.test_gains, strict=True)
            )
        ]
        done = pd.concat([done, pd.DataFrame(rows)], ignore_index=True)
        file.parent.mkdir(parents=True, exist_ok=True)
        done.to_csv(file, index=False, float_format="%.6g")
        print(f"{name}: {label}", flush=True)


def judged(rows: pd.DataFrame) -> list[dict[str, object]]:
    """What each strategy gains over hard sharing on the half that it did not see."""
    replicates = np.arange(rows["replicate"].nunique())
    found: list[dict[str, object]] = []
    for seen, judge in (
        (replicates % 2 == 0, replicates % 2 == 1),
        (replicates % 2 == 1, replicates % 2 == 0),
    ):
        ways = [
            MeasuredSharing(
                sharing,
                own.sort_values("replicate")["gain"].to_numpy()[seen],
                own.sort_values("replicate")["test_gain"].to_numpy()[judge],
                own["veto"].iloc[0] or None,
            )
            for sharing, own in rows.groupby("sharing", sort=False)
        ]
        test = {way.sharing: float(way.test_gains.mean()) for way in ways}
        best = max(test.values())
        chosen = choose_sharing(ways)[0]
        for strategy, way in {"policy": chosen, **{f"always {way}": way for way in test}}.items():
            found.append(
                {"strategy": strategy, "way": way, "gain": test[way], "regret": best - test[way]}
            )
    return found


def report() -> None:
    """Regret a table and strategy, to regret.csv."""
    rows = pd.concat(
        [
            pd.read_csv(file, keep_default_na=False)
            for file in sorted((OUT / "measured").glob("*.csv"))
        ]
    )
    found = pd.DataFrame(
        [
            {"table": table, "group": group, **each}
            for (table, group), own in rows.groupby(["table", "group"], sort=False)
            for each in judged(own)
        ]
    )
    groups = found.groupby(["table", "group", "strategy"], sort=False)["regret"].mean()
    table = groups.groupby(["strategy", "table"]).mean().unstack("table")
    table["mean"] = table.mean(axis=1)
    ends = {strategy: _interval(own) for strategy, own in groups.groupby("strategy")}
    behind = groups.unstack("strategy").sub(groups.xs("policy", level="strategy"), axis=0)
    more = {strategy: _interval(own) for strategy, own in behind.stack().groupby("strategy")}
    for name, found_ends in (("", ends), ("more_than_policy_", more)):
        for at, end in enumerate(("low", "high")):
            table[f"{name}{end}"] = [found_ends[strategy][at] for strategy in table.index]
    table = table.sort_values("mean")
    found.to_csv(OUT / "choices.csv", index=False, float_format="%.5g")
    table.to_csv(OUT / "regret.csv", float_format="%.5g")
    print((100 * table).round(2).to_string())
    print(found.query("strategy == 'policy'").groupby("way").size().to_string())


def _interval(regret: pd.Series, draws: int = 4000) -> tuple[float, float]:
    """95 % interval of the mean over tables: tables are resampled, and groups within each.

    Six tables are few: intervals are rough.
    """
    random = np.random.default_rng(0)
    tables = [own.to_numpy() for _, own in regret.groupby("table")]
    means: list[float] = []
    for _ in range(draws):
        drawn = random.integers(len(tables), size=len(tables))
        parts = [random.choice(tables[at], len(tables[at])).mean() for at in drawn]
        means.append(float(np.mean(parts)))
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("step", choices=["measure", "report"])
    parser.add_argument("names", nargs="*")
    arguments = parser.parse_args()
    if arguments.step == "report":
        report()
    for name in arguments.names or list(ROWS) if arguments.step == "measure" else ():
        measure(name)
