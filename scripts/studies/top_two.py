"""Top-two sampling as the acquisition of a race, in a replay on measured tables.

    python scripts/studies/top_two.py reports/truth_left_out --halvings 12

A later round then trains the groups by which the plan and the best other grouping of each posterior
sample differ, instead of the groups that are in most samples' best groupings. Both races decide on
the same halvings, from trainings alone.
"""

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import pandas as pd
from averaged_decisions import WithinOne, read
from fidelities.half import Half
from fidelities.measure import Judged, Method, measure
from fidelities.methods import METHODS
from fidelities.ours import RaceResult
from fidelities.report import differences, markdown, mean_over_tables
from fidelities.shares import rows, shares

from affinity.audit.candidates import CandidateSet
from affinity.grouping import Grouping


def worth_of_training(self: CandidateSet, leading: Sequence[Grouping]) -> dict[int, float]:
    """For each group, in how many samples it tells the plan from the sample's best grouping."""
    plan = set(self.rows(leading[0]))
    weights: Counter[int] = Counter()
    for chosen in self.chosen:
        best = {row for row in chosen.tolist() if row >= 0 and self.groups[row].sum() > 1}
        weights.update(best ^ plan)
    spread = self.values.std(axis=0).tolist()
    return {row: weight * spread[row] for row, weight in weights.items()}


@dataclass(frozen=True)
class TopTwo:
    """A race with top-two sampling."""

    race: WithinOne

    def __call__(self, half: Half, budget: int, seed: int) -> tuple[int, ...]:
        """The groups chosen."""
        with patch.object(CandidateSet, "worth_of_training", worth_of_training):
            return self.race(half, budget, seed)


def main() -> None:
    """Judge both races, and print the difference."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tables", default="", help="only these")
    parser.add_argument("--halvings", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=2, help="of 2T trainings")
    given = parser.parse_args()
    race = WithinOne(RaceResult(rounds=given.rounds))
    names = ("all-in-one", "separate", "raw best, all replicates", "random")
    methods: dict[str, Method] = {name: METHODS[name] for name in names}
    methods |= {"race": race, "top two": TopTwo(race)}
    judged: list[Judged] = []
    folders = sorted(path.parent for path in given.folder.glob("*/truth.csv.gz"))
    for folder in folders:
        if given.tables and folder.name not in given.tables.split(","):
            continue
        judged.append(measure(read(folder), methods, given.halvings))
        every = [shares(each, budget) for each in judged for budget in each.budgets]
        print(f"\nup to {folder.name}\n\n{markdown(mean_over_tables(every).round(2))}\n")
        print(markdown(differences(every, "top two").round(2)), "\n")
        found = pd.DataFrame([row for each in judged for row in rows(each)])
        worth = found.groupby(["table", "budget"])["harm"].transform("max") > 0.01
        gains = found[worth].groupby("method")["harm"].mean()
        print("gain where more than 1 % can be gained:", gains.round(4).to_dict())
        print("worst:", found.groupby("method")["harm"].min().to_dict(), flush=True)


if __name__ == "__main__":
    main()
