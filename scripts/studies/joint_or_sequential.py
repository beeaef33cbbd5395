"""Joint, sequential or separate: every pair of tasks of a table, in both ways.

python scripts/studies/joint_or_sequential.py scene --replicates 5
"""

import argparse
import json
import sys
import warnings
from collections import Counter

import pandas as pd
import torch
from intervals import ROOT, markdown

from affinity.problems import Problem, load_table
from affinity.transfer import Circumstances, compare_joint, learn_sources, measure_transfer

OUT = ROOT / "reports/transfer/joint"
TABLES = ROOT.parent / "shared/data/tables"
FILES = {"scene": "scene", "qm9": "qm9_10k", "census": "census_income_kdd"}
MOST_ROWS, MOST_TASKS = 3000, 8


def problem_of(name: str) -> Problem:
    """Limits on rows and tasks, and the networks that the tables' manifest names."""
    entry = json.loads((TABLES / "manifest.json").read_text())[FILES[name]]
    targets = list(entry["targets"])[:MOST_TASKS]
    left = list(entry["targets"])[MOST_TASKS:]
    frame = pd.read_csv(TABLES / f"{FILES[name]}.csv.gz")
    frame = frame.sample(min(MOST_ROWS, len(frame)), random_state=0)
    return load_table(frame.drop(columns=left), targets=targets, width=32)


README = """# Joint, sequential, or separate: {name}

For each pair of tasks the gain of the second one from the first: *sequential*, a trunk that
learned the first is fine-tuned in full; *joint*, one network learns both; against the second
alone, on the same replicates. {rows:,} rows to learn from, trunk of width 32, {replicates}
replicates; verdicts as in an audit, over all pairs together (false discoveries of 5 %).

    {command}

| | mean gain, % | beneficial | neutral | harmful | undecided |
| --- | --- | --- | --- | --- | --- |
{summary}

Advice where only the target matters: {advice}. Where the source matters as well: {both}.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=FILES)
    parser.add_argument("--replicates", type=int, default=5)
    arguments = parser.parse_args()
    if not TABLES.exists():
        sys.exit(f"Expected tables at {TABLES.relative_to(ROOT.parent)}; they are missing.")
    torch.set_num_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        problem = problem_of(arguments.name)
    on = problem.replicates(arguments.replicates)
    sources = learn_sources(problem, on, [*problem.names, "own inputs"])
    transfer = measure_transfer(problem, sources=sources)
    both = compare_joint(problem, sources, transfer)
    frame = both.frame()
    out = OUT / arguments.name
    out.mkdir(parents=True, exist_ok=True)
    frame.drop(columns="reasons").to_csv(out / "pairs.csv", index=False, float_format="%.5g")
    transfer.frame().to_csv(out / "transfer.csv", index=False, float_format="%.5g")
    lines = []
    for way in ("sequential", "joint"):
        verdicts = Counter(frame[f"{way}_verdict"])
        counts = " | ".join(
            str(verdicts[v]) for v in ("beneficial", "neutral", "harmful", "undecided")
        )
        lines.append(f"| {way} | {100 * frame[way].mean():+.1f} | {counts} |")
    own = transfer.frame()
    own = own[own["source"] == "own inputs"]
    verdicts = Counter(own["verdict"])
    counts = " | ".join(str(verdicts[v]) for v in ("beneficial", "neutral", "harmful", "undecided"))
    lines.append(f"| from own inputs | {100 * own['gain'].mean():+.1f} | {counts} |")

    def advised(given: Circumstances) -> str:
        ways = Counter(pair.advise(given).use for pair in both.pairs)
        return ", ".join(f"{way} {count}" for way, count in ways.most_common())

    (out / "README.md").write_text(
        README.format(
            name=arguments.name,
            rows=max(pair.rows for pair in both.pairs),
            replicates=arguments.replicates,
            command=f"python scripts/studies/joint_or_sequential.py {arguments.name}"
            f" --replicates {arguments.replicates}",
            summary="\n".join(lines),
            advice=advised(Circumstances()),
            both=advised(Circumstances(only_target_matters=False)),
        )
        + "\n"
        + markdown(
            frame[["source", "target", "sequential", "sequential_verdict", "joint"]]
            .assign(joint_verdict=frame["joint_verdict"], advice=frame["advice"])
            .round(3)
        )
        + "\n"
    )


if __name__ == "__main__":
    main()
