"""Measuring ways to share: train each network of a grouping in each way, at equal size."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from affinity.errors import InputError, check_number, warn
from affinity.grouping import Grouping, Network
from affinity.problems import NetworkTrainer, Problem, at_equal_size, try_strengths
from affinity.recommendation import MeasuredSharing, Plan
from affinity.sharing import SHARINGS, SharingSettings, check_fit
from affinity.statistics import Gains
from affinity.tasks import Score
from affinity.training import Job, Result, Trainer

from .gates import Gates
from .trainings import CandidatePlan, Trainings, jobs_of, run_jobs

STRENGTH_REPLICATES = 3  # replicates on which a strength is chosen
REPLICATES = 6  # replicates on which ways to share are compared
WAYS = tuple(name for name, method in SHARINGS.items() if method.step_work is not None)
"""The ways to share that are tried by default."""

_ONLY = "networks"


def measure_sharing(
    problem: Problem | Trainer,
    grouping: Grouping,
    replicates: int = REPLICATES,
    *,
    seed: int = 1,
    ways: Sequence[str] = WAYS,
    store: str | Path | None = None,
    tasks: Mapping[str, Score | str] | None = None,
) -> dict[frozenset[str], tuple[MeasuredSharing, ...]]:
    """Train each multi-task network in each way to share; for `recommend(measured=...)`.

    All have about as many parameters as the hard-shared one (`at_equal_size`), and see the same
    rows in the same order. A mixture of experts is rejected if, in at least half of the replicates,
    the gate of a task uses a single expert or two experts are identical. Ways that the trunk does
    not support (cross-stitch without stages) are skipped.

    Args:
        problem: Tasks, rows, trunk and heads; or any trainer that accepts the setting "sharing",
            which itself sees to networks of about equal size.
        ways: The ways to share that are compared; hard sharing is always included.
        store: A folder in which finished trainings of a problem are kept.
        tasks: The score of each task: "maximize", "minimize" or a `Score`; needed for a trainer.

    Raises:
        InputError: If `replicates` is below 1, or a trainer is given without tasks or does not
            accept other ways to share.
    """
    check_number("replicates", replicates, "no-replicates", least=1)
    if isinstance(problem, Problem):
        trainer = NetworkTrainer(problem, store, keep_mixtures=True)
        scores, seeds = trainer.tasks, problem.replicate_seeds(replicates, seed)
    else:
        trainer, seeds = problem, range(seed, seed + replicates)
        scores = {task: Score.of(score) for task, score in (tasks or {}).items()}
        if missing := sorted(grouping.tasks - scores.keys()):
            raise InputError(f"Expected tasks= to say the scores of {missing}.", "missing-task")
        if "sharing" not in trainer.accepts:
            raise InputError(
                "Expected a trainer that accepts the setting 'sharing', but this one accepts "
                f"{sorted(trainer.accepts) or 'none'}.",
                "setting-not-accepted",
            )
    networks = [network for network in grouping.networks if not network.is_alone]
    measured: dict[frozenset[str], list[MeasuredSharing]] = {net.trained: [] for net in networks}
    hard = _train(trainer, {network: {} for network in networks}, "hard", seeds, scores)
    for sharing in dict.fromkeys(("hard", *ways)):
        settings: dict[Network, SharingSettings] = {}
        notes: dict[Network, str] = {}
        for network in networks:
            try:
                settings[network], notes[network] = _settings_of(trainer, network, sharing, seeds)
            except InputError as error:
                warn(f"{SHARINGS[sharing].label} was not compared: {error}", "sharing-not-compared")
        if not settings:
            continue
        trained = hard if sharing == "hard" else _train(trainer, settings, sharing, seeds, scores)
        for network in settings:
            served = {name: score for name, score in scores.items() if name in network.served}
            columns = [column for column, name in enumerate(scores) if name in served]
            gains, test_gains = (
                Gains(
                    tuple(served),
                    trained.table(_ONLY, part)[:, columns],
                    hard.table(_ONLY, part)[:, columns],
                    tuple(served.values()),
                ).overall()
                for part in (trained.decided, trained.judged)
            )
            results = [result for result in trained.results if result.job.tasks == network.trained]
            veto = None if sharing == "hard" else _fault(trainer, sharing, results)
            measured[network.trained].append(
                MeasuredSharing(sharing, gains, test_gains, veto, settings[network], notes[network])
            )
    return {tasks: tuple(compared) for tasks, compared in measured.items()}


def _settings_of(
    trainer: Trainer, network: Network, sharing: str, seeds: Sequence[int]
) -> tuple[SharingSettings, str]:
    """The settings of a way to share for a network, and how they were chosen."""
    if not isinstance(trainer, NetworkTrainer) or sharing == "hard":
        return {}, ""
    problem, job = trainer.problem, Job("", network.trained, 0, sharing=sharing)
    check_fit(trainer.make_network(job), problem.tasks, problem.development.inputs[:2])
    return _choose_strength(problem, network.trained, seeds) if sharing == "soft" else ({}, "")


def _train(
    trainer: Trainer,
    settings: Mapping[Network, SharingSettings],
    sharing: str,
    seeds: Sequence[int],
    scores: Mapping[str, Score],
) -> Trainings:
    """Networks in one way to share, on every replicate."""
    n_networks = len(settings)
    plan = Plan(
        Grouping(tuple(settings)),
        (sharing,) * n_networks,
        ("",) * n_networks,
        settings=tuple(settings.values()),
    )
    candidates = {_ONLY: CandidatePlan.fixed(plan)}
    results = run_jobs(trainer, jobs_of(candidates, seeds))
    return Trainings.from_results(scores, candidates, seeds, results)


def _fault(trainer: Trainer, sharing: str, results: Sequence[Result]) -> str | None:
    """Why a way is rejected: failed trainings, or the gates of a mixture of experts."""
    if n_failed := sum(result.is_failed for result in results):
        return f"its training failed in {n_failed} of {len(results)} replicates"
    if sharing != "mmoe" or not isinstance(trainer, NetworkTrainer):
        return None
    gates = Gates.from_results(trainer, results)
    return None if gates is None else gates.fault


def choose_strengths(plan: Plan, problem: Problem, seeds: Sequence[int]) -> Plan:
    """The plan with a strength for every soft-shared network that has none.

    The strength with the lowest validation loss (`try_strengths`) on at most `STRENGTH_REPLICATES`
    of the seeds; test rows play no part.
    """
    sized = problem if plan.width is None else problem.of_width(plan.width)
    settings, reasons = list(plan.settings), list(plan.reasons)
    for position, (network, sharing) in enumerate(
        zip(plan.grouping.networks, plan.sharing, strict=True)
    ):
        if sharing == "soft" and "strength" not in plan.settings[position]:
            settings[position], note = _choose_strength(sized, network.trained, seeds)
            reasons[position] = f"{reasons[position]} {note}".strip()
    return replace(plan, settings=tuple(settings), reasons=tuple(reasons))


def _choose_strength(
    problem: Problem, tasks: frozenset[str], seeds: Sequence[int]
) -> tuple[SharingSettings, str]:
    """The strength of soft sharing at equal size, and how it was chosen."""
    replicates = [problem.replicate(seed) for seed in seeds[:STRENGTH_REPLICATES]]
    tried = try_strengths(at_equal_size(problem, tasks, "soft"), tasks, replicates)
    return {"strength": tried.best}, tried.note
