"""The summary of a study: the numbers that the terminal, the JSON and the page show."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from affinity.audit import Audit
from affinity.audit.audit import PROPOSED
from affinity.errors import InputError
from affinity.statistics.negative_transfer import VerdictName
from affinity.tasks import Direction
from affinity.tasks.score import GainUnit, common_unit

from .deciding import Answer, StudyState, measured_gains
from .history import StudyCandidate, known, list_candidates, networks_of
from .ledger import State
from .status import StudyStatus
from .study import Study


@dataclass(frozen=True)
class GroupSummary:
    """The measured gains of a group that was trained."""

    tasks: tuple[str, ...]
    trainings: int  # how many gave scores
    gains: Mapping[str, float]  # of each task that was also trained alone, in its own unit


@dataclass(frozen=True)
class JobSummary:
    """A training that is not finished."""

    id: str
    tasks: tuple[str, ...]
    seed: int
    state: State
    why: str


@dataclass(frozen=True)
class AuditDecision:
    """The result of an audit that decided about the study's plan.

    Args:
        is_replaced: Whether the audit advises another grouping than the trainings before it.
        gain: Measured mean gain of the plan over separate networks.
        low: Lower end of its 95 % interval; None with one replicate.
    """

    replicates: int
    is_replaced: bool
    gain: float | None
    low: float | None
    high: float | None
    verdict: VerdictName


@dataclass(frozen=True)
class StudySummary:
    """All numbers of a study that are shown.

    Args:
        tasks: Whether the score of each task is maximized or minimized.
        units: The unit of each task's gains.
        unit: The unit of gains that are means over tasks.
        status: How many trainings are done, running, and so on.
        seconds_left: The time that the trainings left take, one after the other, at the pace of
            the last one; 0 once the answer is decided, None before the first training.
        is_decided: Whether one grouping is within the tolerance of the best.
        is_finished: Whether nothing runs or waits, and no more trainings will be decided on.
        audit: The decision of the audit of the best grouping; None without one.
        candidates: The plan first; empty while nothing is known. If an audit replaced the plan,
            the one before is called "proposed".
        unknown: Questions that the results leave open, in sentences.
        untried: The probability that a group that was never trained makes a better grouping than
            the plan; None while no gain was measured.
        groups: Groups of several tasks that were trained, the largest mean gain first.
        next: Trainings that run or wait, in the order in which they are handed out.
    """

    tasks: Mapping[str, Direction]
    units: Mapping[str, GainUnit]
    unit: GainUnit
    budget: int
    status: StudyStatus
    seconds_left: float | None
    is_decided: bool
    is_finished: bool
    audit: AuditDecision | None
    candidates: tuple[StudyCandidate, ...]
    unknown: tuple[str, ...]
    untried: float | None
    groups: tuple[GroupSummary, ...]
    next: tuple[JobSummary, ...]

    @property
    def plan(self) -> StudyCandidate | None:
        """The best grouping so far."""
        return self.candidates[0] if self.candidates else None


def summarize_study(study: Study) -> StudySummary:
    """The summary of a study in its current state."""
    status, state = study.status(), study.state()
    try:
        answer = study.answer()
    except InputError as error:
        if error.code != "no-results":
            raise
        answer = None
    decided = None if answer is None else study.decision()
    is_decided = answer is not None and answer.is_decided
    is_busy = bool(status.running or status.waiting or status.stale) or (
        status.judged < status.judging
    )
    return StudySummary(
        tasks={task: score.direction for task, score in study.tasks.items()},
        units={task: score.gain_unit for task, score in study.tasks.items()},
        unit=common_unit(study.tasks.values()),
        budget=state.budget,
        status=status,
        seconds_left=None
        if status.last_seconds is None
        else 0.0
        if is_decided
        else status.left * status.last_seconds,
        is_decided=is_decided,
        is_finished=not is_busy and (is_decided or not status.left),
        audit=None if decided is None else _audit(decided),
        candidates=() if answer is None else _candidates(answer, decided),
        unknown=() if answer is None else answer.unknown,
        untried=None if answer is None else known(answer.untried),
        groups=_groups(state),
        next=_next(study),
    )


def _audit(audit: Audit) -> AuditDecision:
    return AuditDecision(
        replicates=audit.gains.n_replicates,
        is_replaced=PROPOSED in audit.candidates,
        gain=known(audit.overall.gain),
        low=known(audit.overall.low),
        high=known(audit.overall.high),
        verdict=audit.overall.verdict,
    )


def _candidates(answer: Answer, decided: Audit | None) -> tuple[StudyCandidate, ...]:
    """One per grouping; first the one that an audit decided for."""
    candidates = list_candidates(answer)
    plan = None if decided is None else networks_of(decided.plan.grouping)
    if plan is None or plan == candidates[0].networks:
        return candidates
    proposed = replace(candidates[0], names=(PROPOSED, *candidates[0].names[1:]))
    others = [candidate for candidate in candidates[1:] if candidate.networks != plan]
    chosen = next(
        (candidate for candidate in candidates if candidate.networks == plan),
        StudyCandidate((), plan, None, None, None, None),
    )
    return replace(chosen, names=("plan", *chosen.names)), proposed, *others


def _groups(state: StudyState) -> tuple[GroupSummary, ...]:
    groups = [
        GroupSummary(
            tasks=tuple(sorted(group)),
            trainings=len(results),
            gains={task: gain for task, (gain, _) in measured_gains(state, group).items()},
        )
        for group, results in state.trained.items()
        if len(group) > 1
    ]

    def mean_gain(group: GroupSummary) -> float:
        scaled = [gain * state.tasks[task].scale for task, gain in group.gains.items()]
        return sum(scaled) / len(scaled) if scaled else float("-inf")

    return tuple(sorted(groups, key=mean_gain, reverse=True))


def _next(study: Study) -> tuple[JobSummary, ...]:
    frame = study.frame()
    frame = frame[frame["state"].isin(["running", "stale", "waiting"])]
    jobs = [
        JobSummary(
            id=str(job),
            tasks=tuple(map(str, rows["task"])),
            seed=int(rows["seed"].iloc[0]),
            state=rows["state"].iloc[0],
            why=str(rows["why"].iloc[0]),
        )
        for job, rows in frame.groupby("job", sort=False)
    ]
    order = ("running", "stale", "waiting")
    return tuple(sorted(jobs, key=lambda job: order.index(job.state)))
