"""Daily training: one pass in the order of time, evaluated on each day before training on it."""

import hashlib
import json
import math
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from affinity import storage
from affinity.errors import DivergenceError, InputError, warn
from affinity.reading import DataNote
from affinity.recording import Recorder, RecordingCost, Trace
from affinity.sharing import Cost, MMoE, cost_of, gate_health
from affinity.training.checkpoint import optimizer_tensors, restore_optimizer

from .impressions import Impressions
from .metrics import auc, gauc, ndcg
from .model import RankingModel, RankingSettings
from .objective import RankingObjective


@dataclass(frozen=True)
class ObjectiveMetrics:
    """How well a day's labels of one objective were predicted before training on them.

    Args:
        rows: Number of labels.
        rate: Their mean.
        predicted: Mean of the predictions of the same impressions.
        auc: Over all impressions; NaN for times, and without both classes.
        gauc: Within users.
        ndcg: Within users, with the labels as gains.
    """

    rows: int
    rate: float
    predicted: float
    loss: float
    auc: float
    gauc: float
    ndcg: float


@dataclass(frozen=True, eq=False)
class DayResult:
    """One day of the stream.

    Args:
        new_users: Number of users that no earlier day had.
        step: Number of training steps before the day; batches without labels are none.
        metrics: Of each objective with labels; empty on the first day, before any training.
        gates: The tasks of the rows of `utilization`; empty unless sharing is a mixture of experts.
        utilization: Mean weight of each expert on the day's impressions.
        polarized: Tasks whose gate gives all experts but one less than a tenth together.
        notes: What is odd about the day.
    """

    day: str
    rows: int
    users: int
    new_users: int
    step: int
    seconds: float
    metrics: Mapping[str, ObjectiveMetrics]
    gates: tuple[str, ...]
    utilization: Float[Tensor, "gate expert"]
    polarized: tuple[str, ...]
    notes: tuple[DataNote, ...]


@dataclass(frozen=True, eq=False)
class RankingRun:
    """What daily training measured; `affinity.write_report(run, path)` writes its page.

    Args:
        settings: Of the model and its training.
        trace: What the recorder measured; None if it was off.
        recording: What the recorder cost so far; None if it was off.
        cost: Of serving: parameters, and multiply-adds per impression for all objectives.
    """

    objectives: tuple[RankingObjective, ...]
    settings: RankingSettings
    days: tuple[DayResult, ...]
    trace: Trace | None
    recording: RecordingCost | None
    cost: Cost
    notes: tuple[DataNote, ...]

    def mean(self, metric: str = "auc", days: slice = slice(1, None)) -> dict[str, float]:
        """Mean of a metric over days, weighted by labels, for each objective that has it."""
        means: dict[str, float] = {}
        for objective in self.objectives:
            known = [
                (getattr(day.metrics[objective.name], metric), day.metrics[objective.name].rows)
                for day in self.days[days]
                if objective.name in day.metrics
            ]
            known = [(value, rows) for value, rows in known if math.isfinite(value)]
            if known:
                total = sum(rows for _, rows in known)
                means[objective.name] = sum(value * rows for value, rows in known) / total
        return means


@dataclass(frozen=True, eq=False)
class RankingCheckpoint:
    """All that tomorrow's job needs.

    Args:
        run: Identifies model, settings and features.
        recorder: Tensors of the recorder's state.
        recorder_text: The rest of it; empty without a recorder.
    """

    run: str
    days: tuple[DayResult, ...]
    step: int
    users: Int[Tensor, " user"]
    network: Mapping[str, Tensor]
    optimizer: Mapping[str, Tensor]
    random: Tensor
    recorder: Mapping[str, Tensor]
    recorder_text: str


@dataclass
class DailyTrainer:
    """Trains a ranking model day by day, and records it.

    Every day is evaluated first, with the model of the days before it (progressive validation),
    and then trained on, once, in the order of time. With a checkpoint, a call continues after the
    last day of the checkpoint, bit for bit as an uninterrupted run: a daily job calls `train` with
    the log up to today.

    Args:
        checkpoint: A file; written after every day.
        overhead: Time of the recorder's measurements relative to the run's own; None records
            nothing.
        every: Instead of `overhead`: steps from one measurement to the next.

    Example:
        >>> import pandas as pd
        >>> from .impressions import read_impressions
        >>> log = pd.DataFrame({"time": range(0, 400_000, 100), "user": [1, 2, 3, 4] * 1000})
        >>> log["click"] = (log["user"] < 3).astype(float)
        >>> log["hour"] = log["time"] // 3600 % 24
        >>> impressions = read_impressions(
        ...     log, [RankingObjective("click")], time="time", time_unit="s", user="user",
        ...     identifiers=["hour"])
        >>> run = DailyTrainer(RankingSettings(hidden=4, width=4), overhead=None).train(impressions)
        >>> [day.day for day in run.days][:2], sorted(run.days[0].metrics), run.days[1].new_users
        (['1970-01-01', '1970-01-02'], [], 0)
    """

    settings: RankingSettings = field(default_factory=RankingSettings)
    checkpoint: str | Path | None = None
    overhead: float | None = 0.05
    every: int | None = None
    model: RankingModel = field(init=False, repr=False)  # after the last day, once trained

    def train(self, impressions: Impressions, days: slice | None = None) -> RankingRun:
        """Evaluate and train on each day in turn, and return what was measured.

        Args:
            impressions: The log; days that the checkpoint has done are skipped.
            days: Only these days of the log, by number.

        Raises:
            InputError: If a checkpoint is of another run, or there is no day after it.
        """
        if not isinstance(days, slice | None):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InputError(
                f"Expected days as a slice of their numbers, slice(0, 5), but got {days!r}.",
                "invalid-days",
            )
        numbers = range(len(impressions.day_names))[slice(None) if days is None else days]
        with torch.random.fork_rng(devices=[]):
            state = self._start(impressions)
            done = {result.day for result in state.results}
            todo = [number for number in numbers if impressions.day_names[number] not in done]
            if not todo:
                after = (
                    f" after {state.results[-1].day!r}, the last of the checkpoint" if done else ""
                )
                raise InputError(
                    f"Expected a day to train on{after}, but there is none among the chosen days "
                    f"of the log's {len(impressions.day_names)}.",
                    "no-new-days",
                )
            _warn_of_late_rows(impressions, state.results)
            last = [number for number in numbers if impressions.day_names[number] in done]
            first = impressions.day_names[todo[0]]
            if state.results and (
                todo[0] < max(last, default=0) or _is_earlier(first, state.results[-1].day)
            ):
                raise InputError(
                    f"Expected only days after {state.results[-1].day!r}, the last of the "
                    f"checkpoint, but {first!r} is before it.",
                    "day-before-checkpoint",
                )
            for number in todo:
                state.one_day(impressions.day_names[number], impressions.day(number))
                if self.checkpoint is not None:
                    storage.save(state.checkpoint(), self.checkpoint)
        trace = None
        if state.recorder is not None and state.recorder.cost.measurements:
            trace = state.recorder.trace()
        sample = impressions.take(slice(0, 1))
        return RankingRun(
            impressions.objectives,
            self.settings,
            tuple(state.results),
            trace,
            None if state.recorder is None else state.recorder.cost,
            cost_of(state.model, sample),
            impressions.notes,
        )

    def _start(self, impressions: Impressions) -> "_State":
        settings = self.settings
        torch.manual_seed(settings.seed)
        self.model = RankingModel(
            impressions.objectives, impressions.identifier_names, impressions.number_names, settings
        )
        optimizer = torch.optim.Adagrad(self.model.parameters(), settings.learning_rate)
        recorder = None
        if (self.overhead is not None or self.every is not None) and len(
            impressions.objectives
        ) > 1:
            recorder = Recorder(
                self.model,
                tasks=[objective.name for objective in impressions.objectives],
                every=1 if self.every is None else self.every,
                overhead=self.overhead if self.every is None else None,
                layers=3,  # each embedding, the hidden layer and each expert
                optimizer=optimizer,
            )
        run = _digest(impressions, settings, recorder is not None)
        state = _State(run, self.model, optimizer, recorder)
        if self.checkpoint is not None and Path(self.checkpoint).exists():
            state.restore(storage.load_as(RankingCheckpoint, self.checkpoint), self.checkpoint)
        return state


@dataclass
class _State:
    """A run between two days."""

    run: str
    model: RankingModel
    optimizer: torch.optim.Optimizer
    recorder: Recorder | None
    results: list[DayResult] = field(default_factory=list[DayResult])
    step: int = 0
    users: Int[Tensor, " user"] = field(default_factory=lambda: torch.empty(0, dtype=torch.long))

    def one_day(self, name: str, day: Impressions) -> None:
        """Evaluate on a day, then train on it."""
        started, first = time.perf_counter(), self.step
        users = day.users.unique()
        is_new = ~torch.isin(users, self.users)
        notes = tuple(self._notes(day, users[is_new]))
        metrics = evaluate(self.model, day) if self.results else {}
        gates, utilization, polarized = _gates_of(self.model, day)
        self._train(name, day)
        self.users = torch.cat([self.users, users[is_new]])
        self.results.append(
            DayResult(
                name,
                len(day),
                len(users),
                int(is_new.sum()),
                first,
                time.perf_counter() - started,
                metrics,
                gates,
                utilization,
                polarized,
                notes,
            )
        )

    def _train(self, name: str, day: Impressions) -> None:
        model, size = self.model, self.model.settings.batch_size
        model.train()
        model.fit_scales(day)
        known = replace(day, labels=day.labels.where(~day.late, torch.nan))
        weights = {objective.name: objective.weight for objective in model.objectives}
        for first in range(0, len(known), size):
            batch = known.take(slice(first, first + size))
            losses = model.losses(batch)
            if not losses:
                continue
            self.step += 1
            if self.recorder is not None:
                self.recorder.observe(losses)
            total = torch.stack([weights[task] * loss for task, loss in losses.items()]).sum()
            if not bool(total.isfinite()):
                worst = next((t for t, loss in losses.items() if not bool(loss.isfinite())), "")
                raise DivergenceError(
                    f"The loss of {worst!r} became {total.item()} on {name}, at step "
                    f"{self.step}: lower the learning rate, or set time_unit for long times."
                )
            self.optimizer.zero_grad()
            total.backward()
            self.model.sharing.before_step()
            self.optimizer.step()
            self.model.sharing.after_step(self.model.settings.learning_rate)

    def _notes(self, day: Impressions, new_users: Tensor) -> Iterator[DataNote]:
        is_labelled: Bool[Tensor, " objective"] = ~day.labels.isnan().all(dim=0)
        for objective, has_labels in zip(day.objectives, is_labelled.tolist(), strict=True):
            if not has_labels:
                yield DataNote(
                    "no-labels",
                    f"No impression has a label of {objective.name!r}: it is neither "
                    "evaluated nor trained on this day.",
                    "warning",
                    task=objective.name,
                )
        if self.results and len(new_users):
            rows = int(torch.isin(day.users, new_users).sum())
            yield DataNote(
                "new-users",
                f"{len(new_users):,} users with {rows:,} of {len(day):,} impressions were "
                "never met before: what the model knows of them are their other features.",
                value=rows / len(day),
            )
        limit = self.model.settings.n_positions
        positions = day.positions.clamp(max=limit)
        unseen = (positions > 0) & ~self.model.seen_positions[positions]
        if self.results and bool(unseen.any()):
            yield DataNote(
                "unseen-position",
                f"Positions {sorted(set(positions[unseen].tolist()))} were never met before.",
                value=float(unseen.sum()) / len(day),
            )

    def checkpoint(self) -> RankingCheckpoint:
        state = {} if self.recorder is None else self.recorder.state_dict()
        return RankingCheckpoint(
            self.run,
            tuple(self.results),
            self.step,
            self.users,
            self.model.state_dict(),
            optimizer_tensors(self.optimizer),
            torch.get_rng_state(),
            {name: value for name, value in state.items() if isinstance(value, Tensor)},
            str(state.get("recorder", "")),
        )

    def restore(self, checkpoint: RankingCheckpoint, path: str | Path) -> None:
        if checkpoint.run != self.run:
            raise InputError(
                f"Expected the checkpoint {str(path)!r} to be of this run, but it has other "
                "objectives, features or settings. Delete it, or choose another file.",
                "other-training",
            )
        self.model.load_state_dict(dict(checkpoint.network))
        restore_optimizer(self.optimizer, checkpoint.optimizer)
        if self.recorder is not None:
            self.recorder.load_state_dict(
                {**checkpoint.recorder, "recorder": checkpoint.recorder_text}
            )
        self.results = list(checkpoint.days)
        self.step, self.users = checkpoint.step, checkpoint.users
        torch.set_rng_state(checkpoint.random)


@torch.no_grad()
def evaluate(model: RankingModel, impressions: Impressions) -> dict[str, ObjectiveMetrics]:
    """Metrics of each objective with labels, as when serving.

    Example:
        >>> import pandas as pd
        >>> from .impressions import read_impressions
        >>> log = pd.DataFrame({"t": [1, 2], "user": [1, 1], "click": [0.0, 1.0]})
        >>> rows = read_impressions(log, [RankingObjective("click")], time="t", time_unit="s",
        ...                         user="user", identifiers=["t"])
        >>> model = RankingModel(rows.objectives, ["t"], [], RankingSettings())
        >>> evaluate(model, rows)["click"].rate
        0.5
    """
    predictions = model.predict(impressions)
    was_training = model.training
    model.eval()
    losses = model.losses(impressions)
    model.train(was_training)
    metrics: dict[str, ObjectiveMetrics] = {}
    for place, objective in enumerate(model.objectives):
        label = impressions.labels[:, place]
        known = ~label.isnan()
        if not bool(known.any()):
            continue
        prediction, users = predictions[objective.name], impressions.users
        is_binary = objective.is_binary
        metrics[objective.name] = ObjectiveMetrics(
            int(known.sum()),
            label[known].mean().item(),
            prediction[known].mean().item(),
            losses[objective.name].item(),
            auc(prediction, label) if is_binary else math.nan,
            gauc(prediction, label, users) if is_binary else math.nan,
            ndcg(prediction, label, users),
        )
    return metrics


def _gates_of(
    model: RankingModel, day: Impressions
) -> tuple[tuple[str, ...], Float[Tensor, "gate expert"], tuple[str, ...]]:
    if not isinstance(model.sharing, MMoE) or len(model.sharing.experts) < 2:
        return (), torch.zeros(0, 0), ()
    with torch.no_grad():
        health = gate_health(model.sharing, model.represent(day))
    return health.tasks, health.utilization, health.polarized


def _is_earlier(day: str, other: str) -> bool:
    """Whether a day is before another, where both are written as dates."""
    are_dates = all(re.fullmatch(r"\d{4}-?\d\d-?\d\d", name) for name in (day, other))
    return are_dates and day < other


def _warn_of_late_rows(impressions: Impressions, results: list[DayResult]) -> None:
    """Warn of days that the log now has more impressions of than were trained on."""
    rows = dict(zip(impressions.day_names, impressions.days.bincount().tolist(), strict=True))
    more = {day.day: rows[day.day] - day.rows for day in results if rows.get(day.day, 0) > day.rows}
    if more:
        warn(
            f"The log has impressions that came after their day was trained on, {more}: they are "
            "left out. Train on days that are over.",
            "day-not-over",
        )


def _digest(impressions: Impressions, settings: RankingSettings, is_recorded: bool) -> str:
    about, _ = storage.flatten(settings)
    objectives = [storage.flatten(objective)[0] for objective in impressions.objectives]
    names = [impressions.identifier_names, impressions.number_names]
    text = json.dumps([about, objectives, names, is_recorded], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
