"""The race as a stage: whether it fits the time allowed, and what it leaves in the run's folder."""

from pathlib import Path

from affinity.audit import Race, RaceResult
from affinity.errors import InputError
from affinity.estimates import ESTIMATORS, AffinityMatrix
from affinity.files import write_atomically
from affinity.problems import Problem
from affinity.recording import Trace
from affinity.storage import save

from .options import AuditOptions

MOST_TASKS = 20
_AT_ONCE = 10  # a recorded run takes at least as long as so many trainings at once
_FREE = ("gradient cosine",)


def fits(problem: Problem, options: AuditOptions, recording_seconds: float) -> bool:
    """Whether a race's first round, which is not broken off, is likely to fit the time allowed."""
    n_tasks = len(problem.tasks)
    seconds = recording_seconds * 2 * n_tasks / _AT_ONCE
    return n_tasks <= MOST_TASKS and seconds <= 60 * options.race_minutes


def race(
    problem: Problem, options: AuditOptions, matrix: AffinityMatrix, trace: Trace, store: Path
) -> RaceResult:
    """Race the groupings within the budget; affinities that the trace gives for free take part.

    Raises:
        InputError: If overlapping groups are asked for.
    """
    if options.overlap:
        raise InputError(
            "Expected disjoint groups in a race: it trains no group whose tasks are served "
            "elsewhere. Leave --overlap out, or group by affinity alone: --verify affinity."
        )
    others = [ESTIMATORS[name]()(trace) for name in _FREE if name != options.estimator]
    found = Race(
        budget=options.budget_for(len(problem.tasks)),
        seconds=60 * options.race_minutes,
        tolerance=options.tolerance,
        seed=options.seed + 3,  # neither the recorded run's replicates nor those that judge
    )
    return found(problem, [matrix, *others], store=store)


def candidate_of(options: AuditOptions) -> str:
    """Which candidate becomes the plan: where a budget was asked for, the best within it."""
    return "plan" if options.budget is None else "within the budget"


def write_race(raced: RaceResult, table: Path, result: Path) -> None:
    """A table with one row per candidate, and everything that was measured."""
    write_atomically(table, raced.frame().to_csv(index=False))
    save(raced, result)
