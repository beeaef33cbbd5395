"""Audits with any trainer: list the training jobs of an audit, and evaluate their results."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import sqrt

from affinity.errors import InputError, check_number, check_same
from affinity.estimates import AffinityMatrix
from affinity.recommendation import Plan
from affinity.sharing import MERGED
from affinity.statistics import NegativeTransferTest
from affinity.tasks import Score, check_names
from affinity.training import Job, Result, Trainer
from affinity.training.protocol import Setting

from .audit import Audit
from .baselines import RANDOM, SAME_SIZE, check_baselines, permute_tasks
from .context import AuditContext
from .limitations import Limitation
from .score_losses import explain_around_zero
from .task_description import SCORE, TaskDescription
from .trainings import FIRST_SEED, CandidatePlan, Trainings, jobs_of, run_jobs

FEWEST_COMPLETE = 2  # complete replicates needed to leave out those with missing scores


def audit_plan(
    plan: Plan,
    trainer: Trainer,
    tasks: Mapping[str, Score | str],
    replicates: int = 5,
    *,
    seed: int = FIRST_SEED,
    baselines: Sequence[str] | None = None,
    retries: int = 1,
    name: str = "trainings",
    test: NegativeTransferTest | None = None,
    matrix: AffinityMatrix | None = None,
    context: AuditContext | None = None,
) -> Audit:
    """Train a plan and its baselines with any trainer, and evaluate the plan.

    The baselines are separate networks, one network for all tasks, and optional ones. Each group of
    tasks is trained once per replicate. Decisions (`Audit.advice`) use validation scores; verdicts
    use test scores. The scores of a failed training are missing data.

    Args:
        plan: Which tasks are trained together.
        tasks: The score of each task: "maximize", "minimize" or a `Score`.
        replicates: Number of replicates; intervals need two.
        seed: Random seed of the first replicate; the next replicates use the next integers. Do not
            use seeds of trainings from which the plan was chosen; a race uses those from 0 on.
        baselines: Optional baselines: a random grouping, and separate networks and all-in-one at
            about the same number of parameters, for trainers that accept a width; all of these if
            None. "averaged" and "added" add the networks of the plan and all-in-one, merged from
            those of single tasks, for trainers that accept a sharing.
        retries: Maximum number of times that a failed training is repeated, with the same seed.
        name: Title of the audit in the report.
        matrix: The affinities that the plan was made from; they are compared with measured gains.

    Raises:
        InputError: If the plan does not serve the tasks, `replicates` is below 1, a baseline is
            unknown, the plan needs settings that the trainer does not accept, or all trainings of
            the plan or of the separate networks fail.

    Example:
        >>> from affinity.training import FunctionTrainer
        >>> def train(tasks, seed):  # the larger the group, the better
        ...     return {task: 0.7 + 0.05 * len(tasks) + 0.001 * seed for task in tasks}
        >>> audit = audit_plan(
        ...     Plan.all_in_one(("click", "like")),
        ...     FunctionTrainer(train),
        ...     {"click": "maximize", "like": "maximize"},
        ... )
        >>> audit.overall.verdict, round(audit.overall.gain, 6)
        ('beneficial', 0.05)
    """
    check_number("replicates", replicates, "no-replicates", least=1)
    seeds = range(seed, seed + replicates)
    jobs = audit_jobs(plan, tuple(tasks), seeds, baselines, trainer.accepts)
    return audit_from_results(
        plan,
        tasks,
        seeds,
        run_jobs(trainer, jobs, retries),
        baselines,
        trainer.accepts,
        name=name,
        test=test,
        matrix=matrix,
        context=replace(context or AuditContext(), seed=seed),
    )


def audit_jobs(
    plan: Plan,
    tasks: Sequence[str],
    seeds: Sequence[int],
    baselines: Sequence[str] | None = None,
    accepts: frozenset[str] = frozenset(),
) -> list[Job]:
    """The training jobs of an audit: one per seed and per group of tasks that any candidate needs.

    Args:
        seeds: One per replicate.
        baselines: As in `audit_plan`.

    Raises:
        InputError: If the plan does not serve the tasks or has a width, or a baseline is unknown.

    Example:
        >>> jobs = audit_jobs(Plan.all_in_one(("a", "b")), ("a", "b"), seeds=[7])
        >>> [(job.names, job.seed, job.purpose) for job in jobs]
        [(('a', 'b'), 7, 'judge'), (('a',), 7, 'judge'), (('b',), 7, 'judge')]
    """
    return jobs_of(_candidates(plan, tasks, baselines, accepts)[0], seeds)


def audit_from_results(
    plan: Plan,
    tasks: Mapping[str, Score | str],
    seeds: Sequence[int],
    results: Iterable[Result],
    baselines: Sequence[str] | None = None,
    accepts: frozenset[str] = frozenset(),
    *,
    name: str = "trainings",
    test: NegativeTransferTest | None = None,
    matrix: AffinityMatrix | None = None,
    context: AuditContext | None = None,
) -> Audit:
    """The audit of the results of `audit_jobs`, called with the same arguments.

    Results come in any order; a job without a result counts as failed. The arguments are those of
    `audit_plan` and `audit_jobs`.

    Raises:
        InputError: If all trainings of the plan or of separate networks failed.
    """
    scores = {task: Score.of(score) for task, score in tasks.items()}
    candidates, left_out = _candidates(plan, tuple(scores), baselines, accepts)
    trainings = Trainings.from_results(scores, candidates, seeds, results)
    for candidate in ("plan", "separate"):
        if not trainings.table(candidate, trainings.judged).isfinite().any():
            raise InputError(
                f"Expected results of the trainings of {candidate!r}, but all of them failed: "
                f"{trainings.failures[0].error if trainings.failures else 'no scores returned'}",
                "all-trainings-failed",
            )
    complete = trainings.complete
    kept = complete if len(complete) >= FEWEST_COMPLETE else range(len(seeds))
    has_rows = trainings.n_blocks is not None
    known = context or AuditContext()
    return Audit(
        problem=name,
        tasks=tuple(
            TaskDescription(task, SCORE, SCORE, score.direction == "maximize")
            for task, score in scores.items()
        ),
        plan=plan,
        candidates={
            candidate: trainings.evaluate(
                candidate, candidates[candidate].plan_of(seeds[kept[0]]), kept
            )
            for candidate in candidates
        },
        matrix=matrix,
        test=test or NegativeTransferTest(),
        context=replace(
            known,
            seeds=tuple(seeds[place] for place in kept),
            intervals="test rows and replicates" if has_rows else "replicates",
            limits=(
                *known.limits,
                *left_out,
                *_limitations(trainings, [seeds[place] for place in kept]),
            ),
        ),
    )


def _candidates(
    plan: Plan, tasks: Sequence[str], baselines: Sequence[str] | None, accepts: frozenset[str]
) -> tuple[dict[str, CandidatePlan], list[Limitation]]:
    """Candidates by name, and a note for each baseline that cannot be trained."""
    names = check_names(tasks)
    planned = sorted(plan.grouping.tasks)
    check_same("the tasks of the plan", planned, sorted(names), "different-tasks")
    if plan.width is not None:
        raise InputError(
            f"Expected a plan without a width, but it has {plan.width}: this trainer knows only "
            "multiples of its own usual width. Remove the width from the plan.",
            "width-unknown",
        )
    can_widen = "width" in accepts
    baselines = usual_baselines(accepts) if baselines is None else baselines
    check_baselines(baselines, MERGED)
    fixed = {"plan": plan, "separate": Plan.separate(names), "all-in-one": Plan.all_in_one(names)}
    if not set(plan.sharing).isdisjoint(MERGED):
        fixed["plan, trained jointly"] = _shared(plan, "hard")
    for way in (way for way in MERGED if way in baselines):
        for name in ("plan", "all-in-one"):
            fixed[f"{name}, {way}"] = _shared(fixed[name], way)
    candidates = {name: CandidatePlan.fixed(each) for name, each in fixed.items()}
    if RANDOM in baselines:
        candidates[RANDOM] = CandidatePlan(lambda seed: permute_tasks(plan, seed))
    left_out: list[Limitation] = []
    for name, title in SAME_SIZE.items():
        if title in baselines and can_widen:
            networks = len(plan.grouping.networks) / len(fixed[name].grouping.networks)
            width = round(sqrt(networks), 4)  # parameters grow with the square of the width
            settings: dict[str, Setting] = {} if width == 1 else {"width": width}
            candidates[title] = CandidatePlan.fixed(fixed[name], settings)
        elif title in baselines:
            message = (
                f"The baseline {title!r} was left out: the trainer does not accept the setting "
                "'width'."
            )
            left_out.append(Limitation("baseline-left-out", message, candidate=title))
    return candidates, left_out


def usual_baselines(accepts: frozenset[str]) -> tuple[str, ...]:
    """The optional baselines that a trainer with these settings can train, but for merged ones."""
    return (RANDOM, *SAME_SIZE.values()) if "width" in accepts else (RANDOM,)


def _shared(plan: Plan, way: str) -> Plan:
    """The plan with all networks of several tasks shared in one way."""
    networks = plan.grouping.networks
    sharing = tuple("separate" if network.is_alone else way for network in networks)
    return replace(plan, sharing=sharing, reasons=("",) * len(networks), settings=())


def _limitations(trainings: Trainings, seeds: Sequence[int]) -> Iterator[Limitation]:
    """Failed trainings, undefined scores, and limits that follow from the kind of scores."""
    by_group: dict[tuple[str, ...], list[Result]] = {}
    for result in trainings.failures:
        by_group.setdefault(result.job.names, []).append(result)
    for names, failures in by_group.items():
        numbers = [result.job.seed for result in failures]
        without = [number for number in numbers if number not in seeds]
        effect = (
            f"Replicates with the seeds {without} were left out for every candidate."
            if without
            else "Gains that need it are missing."
        )
        message = (
            f"The training of {', '.join(map(repr, names))} failed with "
            f"{'the seeds' if len(numbers) > 1 else 'seed'} "
            f"{', '.join(map(str, numbers))}: {failures[-1].error} {effect}"
        )
        yield Limitation("failed-training", message)
    is_unknown = {
        name: trainings.table(name, trainings.judged).isnan().all(dim=0)
        for name in trainings.candidates
        if name != RANDOM
    }
    for column, task in enumerate(trainings.tasks):
        without = [name for name, unknown in is_unknown.items() if unknown[column]]
        if without and not trainings.failures:
            message = (
                f"Task {task!r} has no {trainings.judged} score under {' and '.join(without)}: its "
                "gain is missing. Trainings returned None for it."
            )
            yield Limitation("undefined-score", message, task)
    alone = trainings.table("separate", trainings.judged)
    for (task, column), score in zip(
        trainings.tasks.items(), trainings.scores.values(), strict=True
    ):
        if score.is_relative and (alone[:, column] > 0).any() and (alone[:, column] < 0).any():
            yield Limitation("scores-around-zero", explain_around_zero([task]), task)
    if trainings.judged == trainings.decided:
        message = (
            f"The trainings gave only {trainings.judged} scores, one per task: decision and "
            "verdict use the same rows. Gains of a grouping that was chosen on such scores "
            "are too high. To separate them, return affinity.Scores(validation=..., test=...)."
        )
        yield Limitation("shared-rows", message)
    has_rows = [result.rows is not None for result in trainings.results if not result.is_failed]
    if any(has_rows) and trainings.n_blocks is None:
        message = (
            "Scores of test rows were ignored: their number differs by training. Intervals "
            "show only how gains vary over replicates."
        )
        yield Limitation("row-scores-differ", message)
