"""The summary of a study: the numbers that the terminal, the JSON and the page show."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan

from affinity.audit import Audit, Candidate
from affinity.audit.audit import PROPOSED
from affinity.errors import InputError
from affinity.grouping import Grouping
from affinity.statistics.negative_transfer import VerdictName
from affinity.tasks import Direction
from affinity.tasks.score import GainUnit, common_unit

from .deciding import Answer, StudyState, measured_gains
from .ledger import State
from .status import StudyStatus
from .study import Study


@dataclass(frozen=True)
class StudyCandidate:
    """A grouping with its expected gain and its probability of being best.

    Args:
        names: All names of the candidates that are this grouping: "plan", "within the budget",
            "separate", "all-in-one".
        networks: The tasks of each network.
        gain: Expected mean gain over the tasks, compared with separate networks; None if unknown.
        low: Lower end of its 95 % interval; None for separate networks, whose gain is 0.
        high: Upper end.
        probability: That no other candidate is better by more than the tolerance.
    """

    names: tuple[str, ...]
    networks: tuple[tuple[str, ...], ...]
    gain: float | None
    low: float | None
    high: float | None
    probability: float | None


@dataclass(frozen=True)
class GroupSummary:
    """The measured gains of a group that was trained.

    Args:
        tasks: Its tasks.
        trainings: How many trainings gave scores.
        gains: For each task that was also trained alone its gain, in its own unit.
    """

    tasks: tuple[str, ...]
    trainings: int
    gains: Mapping[str, float]


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
        replicates: Number of replicates.
        is_replaced: Whether the audit advises another grouping than the trainings before it.
        gain: Measured mean gain of the plan over separate networks.
        low: Lower end of its 95 % interval; None with one replicate.
        high: Upper end.
        verdict: The verdict on that gain.
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
        budget: Maximum number of networks.
        status: How many trainings are done, running, and so on.
        seconds_left: The time that the trainings left take, one after the other, at the pace of
            the last one; 0 once the answer is decided, None before the first training.
        is_decided: Whether one grouping was found to be best.
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
        untried=None if answer is None else _known(answer.untried),
        groups=_groups(state),
        next=_next(study),
    )


def _audit(audit: Audit) -> AuditDecision:
    return AuditDecision(
        replicates=audit.gains.n_replicates,
        is_replaced=PROPOSED in audit.candidates,
        gain=_known(audit.overall.gain),
        low=_known(audit.overall.low),
        high=_known(audit.overall.high),
        verdict=audit.overall.verdict,
    )


def _candidates(answer: Answer, decided: Audit | None) -> tuple[StudyCandidate, ...]:
    """One per grouping, in the order of the answer; first the one that an audit decided for."""
    same: dict[tuple[tuple[str, ...], ...], list[Candidate]] = {}
    for candidate in answer.candidates:
        same.setdefault(_networks(candidate.grouping), []).append(candidate)
    names = {
        networks: [candidate.name for candidate in candidates]
        for networks, candidates in same.items()
    }
    plan = _networks(answer.plan.grouping)
    if decided is not None and _networks(decided.plan.grouping) != plan:
        names[plan][0] = PROPOSED
        plan = _networks(decided.plan.grouping)
        names[plan] = ["plan", *names.get(plan, ())]
    return tuple(
        _candidate(names[networks], networks, same.get(networks, ()))
        for networks in sorted(names, key=lambda networks: networks != plan)
    )


def _candidate(
    names: Sequence[str],
    networks: tuple[tuple[str, ...], ...],
    candidates: Sequence[Candidate],
) -> StudyCandidate:
    """A grouping with the estimates of the first of these candidates, if there are any."""
    if not candidates:
        return StudyCandidate(tuple(names), networks, None, None, None, None)
    first, is_separate = candidates[0], all(len(network) == 1 for network in networks)
    return StudyCandidate(
        names=tuple(names),
        networks=networks,
        gain=_known(first.gain),
        low=None if is_separate else _known(first.low),
        high=None if is_separate else _known(first.high),
        probability=_known(first.probability),
    )


def _networks(grouping: Grouping) -> tuple[tuple[str, ...], ...]:
    """The tasks of each network, the largest first."""
    networks = (tuple(sorted(network.served)) for network in grouping.networks)
    return tuple(sorted(networks, key=lambda network: (-len(network), network)))


def _known(value: float) -> float | None:
    return None if isnan(value) else value


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
