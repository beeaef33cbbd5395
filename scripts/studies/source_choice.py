"""Source choice on tables: measured transfer, and scores without training, as a target's adviser.

python scripts/studies/source_choice.py scene sarcos digits --replicates 6
"""

import argparse
import json
import math
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from intervals import ROOT

from affinity.problems import Problem, load_digits, load_table
from affinity.transfer import (
    SCORES,
    learn_sources,
    measure_transfer,
    representation_similarity,
    transferability_scores,
)

OUT = ROOT / "reports/transfer/taskonomy"
TABLES = ROOT.parent / "shared/data/tables"
MOST_ROWS = 2500
MEASURED, GENERIC, CHANCE = "measured transfer", "best for the other targets", "at random"


def problem_of(name: str, most_rows: int = MOST_ROWS) -> Problem:
    if name == "digits":
        return load_digits()
    if not TABLES.exists():
        sys.exit(f"Expected tables at {TABLES.relative_to(ROOT.parent)}; they are missing.")
    targets = list(json.loads((TABLES / "manifest.json").read_text())[name]["targets"])
    frame = pd.read_csv(TABLES / f"{name}.csv.gz")
    frame = frame.sample(min(most_rows, len(frame)), random_state=0)
    return load_table(frame, targets=targets, width=32)


def measure(problem: Problem, replicates: int) -> pd.DataFrame:
    """A row a source, target and replicate: gains on evaluation and test rows, and the scores."""
    names = problem.names
    sources = learn_sources(problem, problem.replicates(replicates), list(names))
    transfer = measure_transfer(problem, sources=sources)
    scores = {
        name: transferability_scores(problem, sources, score) for name, score in SCORES.items()
    }
    scores["similarity"] = representation_similarity(problem, sources)
    found = []
    for row, source in enumerate(names):
        for column, target in enumerate(names):
            if source == target:
                continue
            own = {name: float(values[row, column]) for name, values in scores.items()}
            for at in range(replicates):
                losses = {
                    part: (
                        float(getattr(transfer.scratch, part)[0, at, column]),
                        float(getattr(transfer.tuned, part)[row, at, column]),
                    )
                    for part in ("evaluation", "test")
                }
                gains = {part: before - after for part, (before, after) in losses.items()}
                level = {f"{part}_scratch": before for part, (before, _) in losses.items()}
                found.append(
                    {"source": source, "target": target, "replicate": at} | gains | level | own
                )
    return pd.DataFrame(found)


def matrix(found: pd.DataFrame, part: str) -> pd.DataFrame:
    """Relative gains, sources as rows, targets as columns."""
    mean = found.groupby(["source", "target"])[[part, f"{part}_scratch"]].mean()
    return (mean[part] / mean[f"{part}_scratch"]).unstack()


def choices(found: pd.DataFrame) -> pd.DataFrame:
    """A row a rule, target and half: where the chosen source stands among the measured gains.

    What is measured decides on one half of the replicates, and is judged on the other, on rows
    that no decision saw; in both ways. Scores decide on rows of the training.
    """
    scores = [*SCORES, "similarity"]
    rows = []
    for parity in (0, 1):
        deciding, judging = (found[found["replicate"] % 2 == each] for each in (parity, 1 - parity))
        seen, judged = matrix(deciding, "evaluation"), matrix(judging, "test")
        ranks = seen.rank(pct=True)
        for target in judged.columns:
            rules = {MEASURED: seen[target], GENERIC: ranks.drop(columns=target).mean(axis=1)}
            for name in scores:
                rules[name] = found[found["target"] == target].groupby("source")[name].mean()
            gains = judged[target].dropna()
            for rule, values in rules.items():
                known = values.reindex(gains.index).dropna()
                if len(known):
                    place = placed(gains, str(known.idxmax()))
                    rows.append({"rule": rule, "target": target, "half": parity} | place)
            chance = {"place": 0.5, "is_best": 1 / len(gains), "value": gains.mean()}
            rows.append(
                {"rule": CHANCE, "target": target, "half": parity}
                | chance
                | {"lost": gains.max() - gains.mean()}
            )
    return pd.DataFrame(rows)


def placed(values: pd.Series, chosen: str) -> dict[str, float]:
    """Where a choice stands: 0 is the best of all, 1 the worst, 0.5 chance."""
    better = int((values > values[chosen]).sum())
    return {
        "place": better / max(1, len(values) - 1),
        "is_best": float(better == 0),
        "value": float(values[chosen]),
        "lost": float(values.max() - values[chosen]),
    }


def summary(chosen: pd.DataFrame, digits: int = 2) -> pd.DataFrame:
    """A row a rule, with 95 % t intervals over targets."""
    from intervals import interval, shown

    rows = []
    for rule in chosen["rule"].unique():
        own = chosen[chosen["rule"] == rule].groupby("target")[["place", "is_best", "lost"]].mean()
        place, lost = interval(own["place"]), interval(own["lost"])
        is_known = rule != CHANCE
        rows.append(
            {
                "source chosen by": rule,
                "targets": len(own),
                "place": shown(place["mean"], place["half"], digits) if is_known else "0.50",
                "best source": f"{own['is_best'].mean():.0%}",
                "lost": "not judged"
                if math.isnan(lost["mean"])
                else shown(lost["mean"], lost["half"], digits),
            }
        )
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="+")
    parser.add_argument("--replicates", type=int, default=6)
    parser.add_argument("--rows", type=int, default=MOST_ROWS)
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    if arguments.replicates < 2:
        sys.exit("Expected at least two replicates: one half decides, the other judges.")
    torch.set_num_threads(1)
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name in arguments.names:
        file = arguments.out / f"table_{name}.csv"
        if file.exists():
            print(name, "is there")
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            problem = problem_of(name, arguments.rows)
        found = measure(problem, arguments.replicates)
        found.to_csv(file, index=False, float_format="%.5g")
        print(name, summary(choices(found)), sep="\n", flush=True)


if __name__ == "__main__":
    np.seterr(all="ignore")
    main()
