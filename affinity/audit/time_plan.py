"""Time plan: how much an audit trains so that it ends within a time limit.

Times are counted, not measured: a step of a network takes `STEP_WORK` operations besides its
arithmetic, and a usual processor core does `SPEED` operations per second. How slow the machine is
as a whole is measured once, in processor time, and rounded to a power of two. That other programs
want the processor, too, reduces rows, races and replicates at first, and epochs only where two
replicates would not end in time. Time that earlier stages leave is used for longer trainings, up to
the usual number of epochs, and then for more replicates.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import torch

from affinity.errors import InputError
from affinity.grouping import Grouping
from affinity.problems import NetworkTrainer, Problem, TrainingResults
from affinity.problems.record import MANY_TASKS
from affinity.problems.strength import STRENGTHS
from affinity.sharing import SHARINGS, cost_of
from affinity.tasks import Examples, Replicate
from affinity.training import Job, Member, train_members
from affinity.training.batch_losses import FEW_TASKS
from affinity.training.ensemble import unbatched_reason
from affinity.training.settings import USUAL_EPOCHS
from affinity.words import count, in_percent, listed

from .blocks import MOST_BLOCKS
from .measure_sharing import REPLICATES, STRENGTH_REPLICATES, WAYS
from .retrain import ALWAYS_TRAINED

SPEED = 2e10  # operations per second of a usual processor core
STEP_WORK = 2e6  # operations that a training step of a network takes besides its arithmetic
HEAD_WORK = 9e4  # the same for each of its heads
FEWEST_TRAINING_ROWS = 20_000  # never fewer to save time: gains depend on their number
_ONE_BY_ONE = 2e7  # operations of a step, besides its arithmetic, of a network trained by itself
_SECONDS_PER_CELL = 1.5e-6  # to read, clean, check and encode a table
_START_UP_SECONDS = 5.0
REPORT_SECONDS = 10.0  # with estimates
_JUDGE_SECONDS = 5e-4  # scores of a head on every split
_SHARES = (1.0, 0.7, 0.5, 0.35, 0.25, 0.18, 0.12, 0.09, 0.06, 0.045, 0.03, 0.02, 0.01)
_MOST_SLOWNESS = 16.0
_MEASUREMENTS = 3
_MOST_MINUTES = 24 * 60
_MARGIN = 0.9  # of the limit that is planned for
_LENGTHS = (
    *((epochs, 1) for epochs in (USUAL_EPOCHS, 20, 15, 12, 10, 8)),
    *((epochs, 4) for epochs in (15, 12, 10, 8)),
)
"""Epochs, and multiples of the batch size: those with the most steps first."""

_SHARING_SHARE = 0.5  # of the other trainings' time, for trying ways to share
_LEAST_SHARING = 0.1  # of the limit, if the other trainings leave that much
_START_SECONDS = 1.0  # to prepare networks that are trained at once
SHARING = "ways to share"  # the stage that tries other ways to share than hard
Baselines = Literal["all", "minimal"]


@dataclass(frozen=True)
class Workload:
    """What determines the time that trainings of a problem take."""

    n_tasks: int
    n_cells: int  # rows times columns
    n_training: int  # rows of a replicate
    batch_size: int  # rows per step
    epochs: int
    trunk: int  # multiply-adds per row, or its parameters if they are more
    head: float  # parameters of a head, on average
    every: int = 10  # steps between two measurements of the recorded run
    one_by_one: bool = False  # networks cannot be trained many at once

    @classmethod
    def of(cls, problem: Problem, every: int = 10) -> "Workload":
        """The workload of a problem."""
        with torch.random.fork_rng():
            cost = cost_of(problem.trunk(), problem.development.inputs[:1])
            first = problem.tasks[:50]
            heads = [sum(p.numel() for p in problem.head(task).parameters()) for task in first]
        n_rows = problem.source.rows or len(problem.development) + len(problem.test)
        n_columns = len(problem.source.columns) or len(problem.tasks)
        return cls(
            n_tasks=len(problem.tasks),
            n_cells=n_rows * n_columns,
            n_training=len(problem.draw(0).training),
            batch_size=problem.settings.batch_size,
            epochs=problem.settings.epochs,
            trunk=max(cost.parameters, cost.multiply_adds),
            head=sum(heads) / len(heads),
            every=every,
            one_by_one=_is_one_by_one(problem),
        )

    @property
    def expected_steps(self) -> int:
        """Steps of a usual training."""
        epochs = min(self.epochs, USUAL_EPOCHS)
        return epochs * math.ceil(self.n_training / self.batch_size)

    def seconds(self, n_networks: float, n_heads: float, steps: int) -> float:
        """Counted time of `n_networks` networks with `n_heads` heads in all."""
        parameters = n_networks * self.trunk + n_heads * self.head
        step_work = n_networks * (_ONE_BY_ONE if self.one_by_one else STEP_WORK)
        step_work += n_heads * HEAD_WORK
        of_steps = steps * (step_work + 6 * parameters * self.batch_size) / SPEED
        return of_steps + n_heads * _JUDGE_SECONDS

    def record(self, steps: int) -> float:
        """Time of the recorded run with its measurements."""
        is_small = self.n_tasks <= FEW_TASKS or self.one_by_one
        plain = _ONE_BY_ONE * (1 + self.n_tasks / (8 if is_small else 30))  # heads and losses
        plain += 6 * (self.trunk + self.n_tasks * self.head) * self.batch_size
        n_sources = min(self.n_tasks, max(MANY_TASKS, math.ceil(self.n_tasks / 16)))
        of_source = 2 if is_small else 0.6  # its gradient, and the losses after its step
        return steps * plain / SPEED * (1 + of_source * (n_sources + 1) / self.every)

    def race(self, n_trainings: float, steps: int) -> float:
        """Time of a race's trainings, each of half of the tasks on average."""
        return self.seconds(n_trainings, n_trainings * self.n_tasks / 2, steps)

    @property
    def fewest_race_trainings(self) -> int:
        """Trainings of two rounds."""
        return 4 * min(self.n_tasks, 40) + 2

    def audit(
        self, replicates: int, baselines: Baselines, steps: int, n_networks: int | None = None
    ) -> float:
        """Time of the plan, separate networks, all-in-one and other baselines.

        `n_networks` are those of the plan that are neither separate nor all-in-one.
        """
        planned = n_networks
        if planned is None:
            planned = min(math.ceil(self.n_tasks / 2), MOST_BLOCKS)
        networks = self.n_tasks + 1 + planned
        candidates = 3 if planned else 2
        if baselines == "all":  # random, and both at equal parameters: as large as the plan
            networks += planned + self.n_tasks + 1
            candidates += 3
        return replicates * self.seconds(networks, candidates * self.n_tasks, steps)

    def sharing(
        self, n_tasks: int, step_work: float, multiply_adds: int, n_trainings: int, steps: int
    ) -> float:
        """Time of a network in one way to share, all of its replicates trained at once."""
        batches = n_trainings if self.one_by_one else 1
        work = step_work * batches * _ONE_BY_ONE * (1 + n_tasks / 8)
        work += 6 * n_trainings * multiply_adds * self.batch_size
        return _START_SECONDS + steps * work / SPEED

    def other_stages(self) -> float:
        """Time of reading, estimates and report."""
        return _START_UP_SECONDS + _SECONDS_PER_CELL * self.n_cells + self.later_stages()

    def later_stages(self, is_grouped: bool = False) -> float:
        """Time of estimates and report."""
        has_frontier = self.n_tasks > 12 and not is_grouped
        return REPORT_SECONDS + (frontier_seconds(self.n_tasks) if has_frontier else 0.0)


@dataclass(frozen=True)
class TimePlan:
    """What an audit trains, and how long it is expected to take."""

    minutes: float
    replicates: int
    baselines: Baselines
    slowness: float = 1.0  # seconds that this machine takes for a counted second
    used_share: float = 1.0  # of the rows of a replicate
    epochs: int | None = None  # at most; None: as set
    recorded_epochs: int | None = None  # the same of the recorded run, if it may be longer
    batch_size: int | None = None  # None: as set
    race_trainings: int | None = None  # at most; None: by its own limit
    seconds: Mapping[str, float] = field(default_factory=dict[str, float])  # expected, by stage
    is_cut: bool = False  # less than without a limit
    is_lengthened: bool = False  # trainings are longer than the recorded run could be

    @property
    def total(self) -> float:
        """Expected time of the whole audit, in seconds."""
        return sum(self.seconds.values())

    @property
    def required(self) -> float:
        """The same without what only uses time that is left."""
        return self.total - self.seconds.get(SHARING, 0.0)

    @property
    def choices(self) -> str:
        """What is less than without a limit, in words; empty if nothing is."""
        parts: list[str] = []
        if self.used_share < 1:
            parts.append(f"{in_percent(self.used_share)} of the rows per replicate")
        if self.epochs is not None:
            parts.append(f"at most {self.epochs} epochs")
        if self.batch_size is not None:
            parts.append(f"batches of {self.batch_size} rows")
        if self.race_trainings is not None:
            parts.append(f"at most {count(self.race_trainings, 'training')} to find a plan")
        parts.append(count(self.replicates, "replicate"))
        if self.baselines == "minimal":
            parts.append("no baselines but separate networks and all-in-one")
        return listed(parts) if self.is_cut else ""

    def applied_to(self, problem: Problem) -> Problem:
        """The problem with the rows, epochs and batches of this plan."""
        settings = problem.settings
        epochs = min(self.epochs or settings.epochs, settings.epochs)
        settings = replace(
            settings,
            epochs=epochs,
            patience=min(settings.patience, max(1, epochs // 2))
            if self.epochs
            else settings.patience,
            batch_size=self.batch_size or settings.batch_size,
        )
        resampling = problem.resampling
        if self.used_share < 1:
            resampling = replace(resampling, used_share=self.used_share)  # pyright: ignore
        return replace(problem, settings=settings, resampling=resampling)


@dataclass(frozen=True)
class RequestedWork:
    """What an audit would train without a time limit."""

    minutes: float
    replicates: int
    baselines: Baselines
    race_seconds: float  # longest time of the race, by counted work; 0: no race
    reference: float  # most seconds of the reference
    # what the user gave is never changed (replicates, baselines, epochs, batch size)
    is_chosen: frozenset[str] = frozenset()
    can_thin: bool = True  # replicates can use fewer rows
    tries_sharing: bool = False  # other ways to share than hard are tried if there is room


def frontier_seconds(n_tasks: int) -> float:
    """Most seconds to find groupings by affinity for every budget, which decide nothing."""
    return 20.0 if n_tasks <= MOST_BLOCKS else 5.0


def plan_time(
    work: Workload, requested: RequestedWork, slowness: float = 1.0, waiting: float = 1.0
) -> TimePlan:
    """Choose rows, epochs and batch size before anything is trained.

    Rows are reduced first, down to `FEWEST_TRAINING_ROWS`; then epochs, then batches are enlarged.
    Other programs' need of the processor (`waiting`: seconds per second of its time) may pass: only
    rows are reduced for it; the plan is corrected later (`plan_trainings`).
    """
    plan = TimePlan(requested.minutes, requested.replicates, requested.baselines, slowness)
    limit = _MARGIN * 60 * requested.minutes
    smaller, busy = work, max(slowness, waiting)
    if _least(work, requested, busy) > limit and requested.can_thin:
        shares = [s for s in _SHARES if s == 1 or s * work.n_training >= FEWEST_TRAINING_ROWS]
        for share in shares:
            smaller = replace(work, n_training=max(1, round(share * work.n_training)))
            plan = replace(plan, used_share=share)
            if _least(smaller, requested, busy) <= limit:
                break
    whole = smaller
    for epochs, factor in _LENGTHS[1:]:
        if _least(smaller, requested, slowness) <= limit:
            break
        plan, smaller = _of_length(plan, whole, requested, epochs, factor)
    plan = _with_bounded_recording(replace(plan, is_cut=smaller != work), smaller, requested)
    return plan_trainings(plan, smaller, requested, smaller.expected_steps)


def _of_length(
    plan: TimePlan, work: Workload, requested: RequestedWork, epochs: int, factor: int
) -> tuple[TimePlan, Workload]:
    """The plan and the work with this limit on epochs, and batches larger by a factor.

    `work` is that without a limit. What the user chose stays, and so do batches that hold more than
    a tenth of the rows or are of rows that are a share of those there are.
    """
    plan = replace(plan, epochs=None, batch_size=None)
    if "epochs" not in requested.is_chosen and epochs < work.epochs:
        plan, work = replace(plan, epochs=epochs), replace(work, epochs=epochs)
    if "batch_size" not in requested.is_chosen and factor > 1 and plan.used_share == 1:
        size = min(512, factor * work.batch_size)
        if size < work.n_training / 10:
            plan, work = replace(plan, batch_size=size), replace(work, batch_size=size)
    return plan, work


def with_fitting_length(
    plan: TimePlan,
    work: Workload,
    requested: RequestedWork,
    steps: int,
    n_networks: int | None = None,
    spent: float = 0.0,
) -> TimePlan:
    """The plan with trainings as long as the time that is left allows.

    Trainings that the plan shortened become longer, up to the usual number of epochs, if the time
    that earlier stages left is enough for the fewest trainings that give an answer. Others become
    shorter, with fewer epochs, if not even two replicates would end in time.

    Args:
        work: The work without a limit, but for its rows.
        steps: Those of a training as planned so far.
    """
    is_raced = n_networks is not None
    room = _MARGIN * 60 * requested.minutes - requested.reference
    room -= spent + work.later_stages(is_raced)

    def needed(work: Workload, replicates: int, steps: int) -> float:
        baselines = requested.baselines if "baselines" in requested.is_chosen else "minimal"
        if "replicates" in requested.is_chosen:
            replicates = requested.replicates
        race = 0.0 if is_raced else work.race(work.fewest_race_trainings, steps)
        race = min(race, requested.race_seconds)
        return plan.slowness * (race + work.audit(replicates, baselines, steps, n_networks))

    now = replace(
        work, epochs=plan.epochs or work.epochs, batch_size=plan.batch_size or work.batch_size
    )
    lengths = [_of_length(plan, work, requested, *each) for each in _LENGTHS]
    few = min(3 if work.n_tasks > 20 else 5, requested.replicates)
    if now.epochs < work.epochs or now.batch_size > work.batch_size:
        for longer, its_work in lengths:
            its_steps = its_work.expected_steps
            if its_steps > now.expected_steps and needed(its_work, few, its_steps) <= room:
                return replace(longer, is_lengthened=True)
    if needed(now, ALWAYS_TRAINED, steps) <= room:
        return plan
    for epochs in dict.fromkeys(epochs for epochs, _ in _LENGTHS):
        its_work = replace(now, epochs=min(epochs, now.epochs))
        its_steps = min(its_work.expected_steps, steps)
        if "epochs" not in requested.is_chosen and its_steps < steps:
            plan = replace(plan, epochs=its_work.epochs)
            if needed(its_work, ALWAYS_TRAINED, its_steps) <= room:
                break
    return plan


def enough_minutes(
    work: Workload, requested: Callable[[float], RequestedWork], slowness: float, least: int = 1
) -> float | None:
    """The shortest time limit from `least` minutes on that leaves trainings their usual length.

    Args:
        work: The work without a limit.
        requested: What is requested with a time limit.
    """
    for minutes in range(least, _MOST_MINUTES + 1):
        plan = plan_time(work, requested(minutes), max(1.0, slowness))
        if (plan.epochs or USUAL_EPOCHS) >= USUAL_EPOCHS and plan.batch_size is None:
            return float(minutes)
    return None


def plan_trainings(
    plan: TimePlan,
    work: Workload,
    requested: RequestedWork,
    steps: int,
    n_networks: int | None = None,
    spent: float = 0.0,
) -> TimePlan:
    """Choose trainings of the race, baselines and replicates, from the steps of a training.

    `steps` are those of the recorded run, once it is known. `spent` are the seconds since the
    start, once the run is recorded.
    """
    slowness = plan.slowness
    other = work.other_stages() if spent == 0 else work.later_stages(n_networks is not None)
    longest = (plan.recorded_epochs or 0) * math.ceil(work.n_training / work.batch_size)
    recording = slowness * work.record(longest or steps)
    before = other + (spent or recording)
    room = _MARGIN * 60 * requested.minutes - before - requested.reference
    of_one = slowness * work.race(1, steps)
    race = min(slowness * requested.race_seconds, of_one * work.n_tasks * 20)
    least_race = min(race, of_one * work.fewest_race_trainings)
    choices: list[tuple[Baselines, int]] = [(requested.baselines, requested.replicates)]
    minimal: Baselines = "minimal"
    if "baselines" not in requested.is_chosen and requested.baselines == "all":
        choices.append((minimal, requested.replicates))
    if "replicates" not in requested.is_chosen:
        cheapest: Baselines = choices[-1][0]
        choices.extend((cheapest, n) for n in (7, 5, 4, 3) if n < requested.replicates)
    is_raced = n_networks is not None
    race_room = 0.0 if is_raced else max(least_race, min(race, 0.35 * room))

    def cost_of(choice: tuple[Baselines, int]) -> float:
        return slowness * work.audit(choice[1], choice[0], steps, n_networks)

    fitting = (choice for choice in choices if cost_of(choice) <= room - race_room)
    baselines, replicates = next(fitting, choices[-1])
    audit = cost_of((baselines, replicates))
    is_full = (baselines, replicates) == choices[0] and (is_raced or race + audit <= room)
    race = race if is_full else max(least_race, min(race, room - audit))
    race_trainings = None
    if not is_full and race > 0:
        race_trainings = max(work.fewest_race_trainings, int(race / of_one))
    trainings = slowness * work.record(steps) + race + audit
    sharing = max(_SHARING_SHARE * trainings, _LEAST_SHARING * 60 * requested.minutes)
    sharing = max(0.0, min(sharing, room - race - audit))
    if is_raced:
        race_trainings = plan.race_trainings
    return replace(
        plan,
        baselines=baselines,
        replicates=replicates,
        race_trainings=race_trainings,
        is_cut=plan.is_cut or not is_full or race_trainings is not None,
        seconds={
            "reading, estimates and report" if spent == 0 else "estimates and report": other,
            **({"recording": recording} if spent == 0 else {"so far": spent}),
            **({} if is_raced else {"grouping": race}),
            **({SHARING: sharing} if requested.tries_sharing and not is_raced else {}),
            "training the plan and its baselines": audit,
            "reference": requested.reference,
        },
    )


def _with_bounded_recording(plan: TimePlan, work: Workload, requested: RequestedWork) -> TimePlan:
    """The plan with a recorded run that ends where a longer one would not change the plan.

    That is where trainings are cut to the usual number of epochs (`with_usual_epochs`).
    """
    per_epoch = math.ceil(work.n_training / work.batch_size)
    for epochs in range(USUAL_EPOCHS + 1, work.epochs):
        if with_usual_epochs(plan, work, requested, epochs * per_epoch).epochs != plan.epochs:
            to_be_seen = math.ceil(work.every / per_epoch)  # that it was so long
            return replace(plan, recorded_epochs=min(epochs + to_be_seen, work.epochs))
    return plan


def with_usual_epochs(
    plan: TimePlan, work: Workload, requested: RequestedWork, steps: int
) -> TimePlan:
    """The plan with no more epochs than usual, if many tasks trained longer when recorded.

    With as many steps as the recorded run, too few trainings would fit to find a plan.
    """
    is_long = work.n_tasks > MOST_BLOCKS and steps > work.expected_steps
    if not is_long or "epochs" in requested.is_chosen:
        return plan
    of_all = STEP_WORK + 6 * (work.trunk + work.n_tasks * work.head) * work.batch_size
    race = 4 * MOST_BLOCKS * steps * of_all / SPEED
    limit = _MARGIN * 60 * requested.minutes
    races = 0 < requested.race_seconds < race
    if not races and _least(work, requested, plan.slowness, steps) <= limit:
        return plan
    return replace(plan, epochs=USUAL_EPOCHS, is_cut=True)


def _least(
    work: Workload, requested: RequestedWork, slowness: float, steps: int | None = None
) -> float:
    """The time with the fewest trainings that give an answer."""
    steps = steps or work.expected_steps
    few = 5 if work.n_tasks <= 20 else 3
    replicates = requested.replicates if "replicates" in requested.is_chosen else few
    baselines = requested.baselines if "baselines" in requested.is_chosen else "minimal"
    race = min(requested.race_seconds, work.race(work.fewest_race_trainings, steps))
    counted = (
        work.record(steps)
        + race
        + work.audit(min(replicates, requested.replicates), baselines, steps)
    )
    return work.other_stages() + slowness * counted + requested.reference


def measure_slowness(problem: Problem, work: Workload) -> float:
    """Processor time of training steps on this machine over the counted time.

    The least of several long trainings minus that of short ones, so that starting and judging
    networks, and what other programs do to the caches, do not count. A power of two, at least 1/2:
    a machine that is faster still counts as twice as fast as usual.
    """
    size = problem.settings.batch_size
    tiny = _few_rows(problem, 8 * size)
    n_networks, some = 2 if work.one_by_one else 16, problem.names[:16]
    members = [Member(frozenset(some), 0)] * n_networks

    def seconds_of(epochs: int) -> float:
        settings = replace(problem.settings, epochs=epochs, patience=epochs)
        start = time.process_time()
        train_members(problem.network, problem.tasks, members, [tiny], settings)
        return time.process_time() - start

    short, long = (min(seconds_of(epochs) for _ in range(_MEASUREMENTS)) for epochs in (1, 3))
    steps = 2 * math.ceil(len(tiny.training) / size)
    n_heads = n_networks * len(some)
    counted = work.seconds(n_networks, n_heads, steps) - work.seconds(n_networks, n_heads, 0)
    ratio = (long - short) / max(counted, 1e-9)
    if ratio <= 1.0:
        return 0.5 if ratio <= 0.5 else 1.0
    return float(min(_MOST_SLOWNESS, max(1.0, 2.0 ** round(math.log2(ratio / 1.2)))))


def pace_of(measured: TrainingResults, work: Workload, steps: int) -> float:
    """Seconds that trainings took per counted second; 0 if it is not known how long they took."""
    is_known = ~measured.seconds.isnan()  # network replicate
    sizes = torch.tensor([len(tasks) for tasks in measured.networks])
    n_networks, n_heads = int(is_known.sum()), int(is_known.sum(dim=1) @ sizes)
    counted = work.seconds(n_networks, n_heads, steps) - work.seconds(0, n_heads, 0)
    return float(measured.seconds.nansum()) / counted if n_networks else 0.0


def _few_rows(problem: Problem, most: int) -> Replicate:
    """A replicate of the first rows, without missing labels, and of two to judge."""

    def first(count: int) -> Examples:
        rows = problem.development.take(torch.arange(min(count, len(problem.development))))
        return Examples(rows.inputs, rows.targets.nan_to_num())

    return Replicate(seed=0, training=first(most), validation=first(2), test=first(2))


def _is_one_by_one(problem: Problem) -> bool:
    """Whether networks of the problem cannot be trained many at once."""
    with torch.random.fork_rng():
        network = problem.network()
    return (
        unbatched_reason(network, problem.tasks, _few_rows(problem, 2), problem.settings)
        is not None
    )


def affordable_ways(
    problem: Problem,
    work: Workload,
    grouping: Grouping,
    steps: int,
    seconds: float,
    slowness: float = 1.0,
) -> tuple[tuple[str, ...], dict[str, float]]:
    """The ways to share that can be compared within some time, and the others, with their time.

    A way that fits no network takes no time, and is not among the others. Times are counted
    (`Workload.sharing`). The usual ways come first, then the cheaper ones.
    """
    trainer = NetworkTrainer(problem)
    networks = [network for network in grouping.networks if not network.is_alone]

    def seconds_of(way: str) -> float:
        n_trainings = REPLICATES + len(STRENGTHS) * STRENGTH_REPLICATES * (way == "soft")
        total = 0.0
        for network in networks:
            job = Job("", network.trained, 0, sharing=way)
            try:
                cost = cost_of(trainer.make_network(job), problem.development.inputs[:2])
            except InputError:
                continue  # it does not fit
            total += work.sharing(
                len(network.trained),
                SHARINGS[way].step_work or 1.0,
                max(cost.parameters, cost.multiply_adds),
                n_trainings,
                steps,
            )
        return slowness * total

    left, ways, others = seconds - seconds_of("hard"), list[str](), dict[str, float]()
    for way in WAYS[1:]:
        needed = seconds_of(way)
        if needed <= left:
            ways.append(way)
            left -= needed
        elif needed:
            others[way] = needed
    return tuple(ways), others


def cost_of_fewer_rows(
    problem: Problem, seed: int, store: str | Path | None = None
) -> dict[float, float]:
    """How much worse one network for all tasks is with fewer training rows: a learning curve.

    For a quarter and half of the training rows, the mean loss of score on selection rows against
    all of the training rows (`Score.gain`, above 0: worse).
    """
    trainer, tasks = NetworkTrainer(problem, store), frozenset(problem.names)
    (replicate,) = problem.replicate_seeds(1, seed)
    shares = (0.25, 0.5, 1.0)
    jobs = [Job(f"rows-{share}", tasks, replicate, settings={"rows": share}) for share in shares]
    scores = {
        float(str(result.job.settings["rows"])): result.validation or {} for result in trainer(jobs)
    }
    costs: dict[float, float] = {}
    for share in shares[:-1]:
        losses = [
            -task.score.gain(scores[share][task.name], scores[1.0][task.name])
            for task in problem.tasks
            if task.name in scores[share] and task.name in scores[1.0]
        ]
        if losses:
            costs[share] = sum(losses) / len(losses)
    return costs
