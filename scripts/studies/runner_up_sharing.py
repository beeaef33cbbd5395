"""Ways to share of runners-up: can a grouping that lost the race win by sharing in another way?

The networks of the race's winner, and of all-in-one where it cannot be told from the winner, are
trained hard, soft and as mixtures of experts, and compared on fresh replicates.

python scripts/studies/runner_up_sharing.py [NAME ...]
"""

import argparse
import warnings
from collections.abc import Mapping
from dataclasses import replace

import pandas as pd
from intervals import ROOT
from policy import ROWS, problem_of

from affinity.audit import Race, measure_sharing
from affinity.audit.trainings import CandidatePlan, Trainings, jobs_of, run_jobs
from affinity.problems import NetworkTrainer, Problem
from affinity.recommendation import MeasuredSharing, Plan, share_as_measured
from affinity.recommendation.measured_sharing import standard_error
from affinity.statistics import Gains

OUT = ROOT / "reports/sharing/runners_up"
NAMES = ("emotions", "yeast", "adult", "communities_crime", "scene")
WAYS = ("soft", "mmoe")
DECIDING, JUDGING = 6, 12  # replicates


def plans_of(problem: Problem) -> dict[str, Plan]:
    """The winner's and the runner-up's networks, in every way to share."""
    race = Race(trainings=4 * len(problem.tasks) + 30)(problem)
    winner, all_in_one = race.winner, race.candidate("all-in-one")
    plans = {"winner, hard": race.to_plan()}
    if winner.grouping != all_in_one.grouping and all_in_one.as_good > 0.05:
        plans["all-in-one, hard"] = race.to_plan("all-in-one")
    for name, hard in list(plans.items()):
        shared = [network for network in hard.grouping.networks if not network.is_alone]
        if not shared:
            continue
        measured = measure_sharing(problem, hard.grouping, seed=102, ways=WAYS)
        for way in WAYS:
            plans[name.replace("hard", way)] = in_one_way(hard, measured, way)
        chosen = share_as_measured(hard, measured, tolerance=0.01)
        plans[name.replace("hard", "chosen")] = chosen
    return plans


def in_one_way(
    hard: Plan, measured: Mapping[frozenset[str], tuple[MeasuredSharing, ...]], way: str
) -> Plan:
    """The plan with all its networks of several tasks in one way to share."""
    settings = [
        next((each.settings for each in measured.get(n.trained, ()) if each.sharing == way), {})
        for n in hard.grouping.networks
    ]
    sharing = ("separate" if network.is_alone else way for network in hard.grouping.networks)
    return replace(hard, sharing=tuple(sharing), settings=tuple(settings))


def gains_over_first(
    problem: Problem, plans: Mapping[str, Plan], replicates: int, seed: int
) -> dict[str, tuple[list[float], list[float]]]:
    """Gains over the first plan on selection and on test rows, one per replicate."""
    trainer, seeds = NetworkTrainer(problem), problem.replicate_seeds(replicates, seed)
    candidates = {name: CandidatePlan.fixed(plan) for name, plan in plans.items()}
    results = run_jobs(trainer, jobs_of(candidates, seeds))
    trained = Trainings.from_results(trainer.tasks, candidates, seeds, results)
    names, scores = tuple(trainer.tasks), tuple(trainer.tasks.values())
    first = next(iter(plans))
    return {
        name: tuple(
            Gains(names, trained.table(name, part), trained.table(first, part), scores).overall()
            for part in (trained.decided, trained.judged)
        )
        for name in plans
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=NAMES)
    warnings.simplefilter("ignore")
    ROWS.update(emotions=0, communities_crime=0)
    for table in parser.parse_args().names:
        problem = problem_of(table)
        plans = plans_of(problem)
        deciding = gains_over_first(problem, plans, DECIDING, seed=202)
        judging = gains_over_first(problem, plans, JUDGING, seed=302)
        rows: list[dict[str, object]] = []
        for name in plans:
            row: dict[str, object] = {"table": table, "plan": name}
            for label, gains in (("selection", deciding[name][0]), ("test", judging[name][1])):
                row |= {label: 100 * gains.mean(), f"{label}_error": 100 * standard_error(gains)}
            rows.append(row)
        OUT.mkdir(parents=True, exist_ok=True)
        pd.DataFrame(rows).to_csv(OUT / f"{table}.csv", index=False, float_format="%.2f")
        print(pd.DataFrame(rows).round(1).to_string(index=False), flush=True)


if __name__ == "__main__":
    main()
