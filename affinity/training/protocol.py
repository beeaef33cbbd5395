"""The training protocol: jobs in, results out, for any trainer."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from math import isfinite
from numbers import Real
from typing import Literal, Protocol, SupportsFloat, cast, runtime_checkable

import numpy as np
from torch import Tensor

from affinity.errors import InputError, check_known, check_number

from .judge import MOST_BLOCKS

Purpose = Literal["decide", "judge"]
Setting = float | int | str | Mapping[str, float | int | str]
"""A value among a job's settings; a mapping has a value for each task, or each setting."""

SETTINGS = ("sharing", "sharing_settings", "width", "rows", "length", "weights", "stop")
"""Settings that a job may carry: how tasks share and the settings of this way, width as a multiple
of the usual one, fraction of the training rows, length of training as a multiple of the usual one,
weight of each task's loss, and the task that alone decides, by its validation score, when to stop.
"""


def check_settings(settings: Iterable[str]) -> frozenset[str]:
    """The names of settings that a trainer accepts."""
    check_known("settings", settings, SETTINGS, "unknown-setting")
    return frozenset(settings)


@dataclass(frozen=True)
class Job:
    """One training that somebody has to run.

    Args:
        id: A name that is unique within a study.
        seed: Decides the data split and the initialization; results of equal seeds are compared
            as pairs.
        purpose: Whether the result helps to decide on a grouping, or judges one.
        settings: What differs from the usual training: only settings that the trainer accepts.
    """

    id: str
    tasks: frozenset[str]
    seed: int
    purpose: Purpose = "decide"
    sharing: str = "hard"
    settings: Mapping[str, Setting] = field(default_factory=dict[str, Setting], hash=False)

    def __post_init__(self) -> None:
        if not self.tasks:
            raise InputError(f"Expected job {self.id!r} to have tasks, but got none.", "no-tasks")

    @property
    def names(self) -> tuple[str, ...]:
        """The tasks in alphabetical order."""
        return tuple(sorted(self.tasks))


@dataclass(frozen=True, eq=False)
class Scores:
    """What a training returns when a plain dictionary of scores is not enough.

    Args:
        validation: A score per task on rows that may be used to decide; a task whose score is
            undefined is left out, or has None.
        test: A score per task on rows that no decision sees.
        rows: For each task its test score on every test row, or on blocks of test rows, in the
            same order in every training; used for intervals over test rows.
        parameters: The number of parameters of the network.
        seconds: The time that training took, if it is not the time that the call took.

    Example:
        >>> def train(tasks, seed):
        ...     return Scores(
        ...         validation=dict.fromkeys(tasks, 0.72),
        ...         test=dict.fromkeys(tasks, 0.70),
        ...         rows={task: [0.6, 0.8] for task in tasks},
        ...     )
        >>> train(("click",), seed=0).test
        {'click': 0.7}
    """

    validation: Mapping[str, SupportsFloat | None] | None = None
    test: Mapping[str, SupportsFloat | None] | None = None
    rows: Mapping[str, Sequence[SupportsFloat] | np.ndarray | Tensor] | None = None
    parameters: int | None = None
    seconds: SupportsFloat | None = None


@dataclass(frozen=True, eq=False)
class Result:
    """What came back from a job.

    Args:
        validation: A score per task; None if the training failed or gave only test scores.
        test: A score per task; None if the training failed or gave only one score per task.
        rows: For each task its test score on blocks of test rows (at most `MOST_BLOCKS`).
        metrics: For each task a second score on test rows, only reported: a metric next to a loss.
        multiply_adds: Multiply-adds to predict one row; None if not counted.
        is_unfinished: Whether its limit on epochs ended the training while the validation loss was
            still falling; None if unknown.
        error: Why the training failed; None if it did not.
        code: A stable name for the reason, such as "exception", "timeout" or "missing-task".
    """

    job: Job
    validation: Mapping[str, float] | None = None
    test: Mapping[str, float] | None = None
    rows: Mapping[str, tuple[float, ...]] | None = None
    parameters: int | None = None
    seconds: float | None = None
    error: str | None = None
    code: str | None = None
    metrics: Mapping[str, float] | None = None
    multiply_adds: int | None = None
    is_unfinished: bool | None = None

    @property
    def is_failed(self) -> bool:
        """Whether there are no scores."""
        return self.error is not None

    @classmethod
    def failed(cls, job: Job, error: str, code: str, seconds: float | None = None) -> "Result":
        """The result of a training that failed."""
        return cls(job, seconds=seconds, error=error, code=code)

    @classmethod
    def of(cls, job: Job, scores: object, seconds: float | int | None = None) -> "Result":
        """Check what a training returned.

        Args:
            scores: A score per task, `Scores`, or a dictionary with the fields of `Scores`. One
                score per task counts as validation score.
            seconds: The time that the training took, unless the scores say it.

        Raises:
            InputError: If a task is missing or was not asked for, a score is no finite number, or
                the value is nothing of that kind. The message names the job and the task.

        Example:
            >>> Result.of(Job("1", frozenset({"click"}), seed=0), {"click": 0.71}).validation
            {'click': 0.71}
        """
        parts = _parts_of(job, scores)
        validation = _checked_scores(job, parts.get("validation"), "validation")
        test = _checked_scores(job, parts.get("test"), "test")
        if validation is None and test is None:
            raise InputError(
                f"Expected scores of job {job.id!r}, but got neither validation nor test scores.",
                "no-scores",
            )
        parameters = _optional_number(job, parts, "parameters")
        own_seconds = _optional_number(job, parts, "seconds")
        told_seconds = _optional_number(job, {"seconds": seconds}, "seconds")
        return cls(
            job=job,
            validation=validation,
            test=test,
            rows=_checked_rows(job, parts.get("rows")),
            parameters=None if parameters is None else int(parameters),
            seconds=told_seconds if own_seconds is None else own_seconds,
        )


_FIELDS = tuple(field.name for field in fields(Scores))


@runtime_checkable
class Trainer(Protocol):
    """Whatever runs jobs: our networks, a user's function, a command, a cluster.

    A trainer returns one result for each job, in any order, as they finish. A job that fails has a
    failed result; an exception means that the trainer itself is broken.
    """

    @property
    def accepts(self) -> frozenset[str]:
        """The names among `SETTINGS` that jobs may set."""
        ...

    def __call__(self, jobs: Iterable[Job]) -> Iterator[Result]:
        """Run the jobs.

        Args:
            jobs: May be produced while others run: a trainer that takes the next job when it can
                start it lets later jobs follow from earlier results.
        """
        ...


def check_accepted(trainer: Trainer, jobs: Iterable[Job]) -> None:
    """Raise an error if a job has a setting that the trainer does not accept."""
    for job in jobs:
        asked = {*job.settings, *(("sharing",) if job.sharing != "hard" else ())}
        settings = f"settings of job {job.id!r} that the trainer accepts"
        check_known(settings, sorted(asked), sorted(trainer.accepts), "setting-not-accepted")


def _parts_of(job: Job, scores: object) -> Mapping[str, object]:
    """The fields of `Scores`, unchecked."""
    if isinstance(scores, Scores):
        return {name: getattr(scores, name) for name in _FIELDS}
    if not isinstance(scores, Mapping):
        raise InputError(
            f"Expected a score for each of the tasks {list(job.names)} of job {job.id!r} as a "
            f"dictionary, or affinity.Scores, but got {_shown(scores)}.",
            "not-scores",
        )
    entries = cast("Mapping[str, object]", scores)
    if not any(isinstance(entries.get(name), Mapping) for name in ("validation", "test")):
        return {"validation": entries}
    check_known(f"fields of the scores of job {job.id!r}", entries, _FIELDS, "unknown-field")
    return entries


def _checked_scores(job: Job, scores: object, part: str) -> dict[str, float] | None:
    if scores is None:
        return None
    by_task = _by_task(job, scores, f"a {part} score")
    known = {
        task: _number(job, score, f"the {part} score of task {task!r}")
        for task in job.names
        if (score := by_task[task]) is not None
    }
    if not known:
        raise InputError(
            f"Expected a {part} score of at least one task in job {job.id!r}, but all are None.",
            "no-scores",
        )
    return known


def _by_task(job: Job, values: object, what: str) -> Mapping[str, object]:
    """The values as a dictionary that has exactly the tasks of the job."""
    if not isinstance(values, Mapping):
        raise InputError(
            f"Expected {what} for each of the tasks {list(job.names)} of job {job.id!r} as a "
            f"dictionary, but got {_shown(values)}.",
            "not-scores",
        )
    by_task = cast("Mapping[str, object]", values)
    if missing := sorted(job.tasks - set(by_task)):
        raise InputError(
            f"Expected {what} for each of the tasks {list(job.names)} of job {job.id!r}, but "
            f"{missing} are missing.",
            "missing-task",
        )
    if extra := sorted(map(str, set(by_task) - job.tasks)):
        raise InputError(
            f"Expected {what} for each of the tasks {list(job.names)} of job {job.id!r} and no "
            f"others, but got {extra} as well.",
            "unknown-task",
        )
    return by_task


def _checked_rows(job: Job, rows: object) -> dict[str, tuple[float, ...]] | None:
    """Means over blocks of neighbouring rows; which rows are in a block is the same every time."""
    if rows is None:
        return None
    by_task = _by_task(job, rows, "row scores")
    blocks: dict[str, tuple[float, ...]] = {}
    for task in job.names:
        try:
            scores = np.asarray(by_task[task], dtype=float)
        except (TypeError, ValueError):
            scores = np.array(np.nan)
        if scores.ndim != 1 or not len(scores) or not np.isfinite(scores).all():
            raise InputError(
                f"Expected a finite score for each test row of task {task!r} in job {job.id!r}, "
                f"but got {_shown(by_task[task])}.",
                "invalid-row-scores",
            )
        parts = np.array_split(scores, min(MOST_BLOCKS, len(scores)))
        blocks[task] = tuple(float(part.mean()) for part in parts)
    return blocks


def _optional_number(job: Job, parts: Mapping[str, object], name: str) -> float | None:
    value = parts.get(name)
    number = None if value is None else _number(job, value, name)
    check_number(f"{name} in job {job.id!r}", number, least=0)
    return number


def _number(job: Job, value: object, what: str) -> float:
    item = getattr(value, "item", None)  # NumPy's and torch's scalars
    if item is not None and getattr(value, "ndim", None) == 0:
        value = item()
    if isinstance(value, bool) or not isinstance(value, Real):
        raise InputError(
            f"Expected {what} in job {job.id!r} to be a number, but got {_shown(value)}.",
            "not-a-number",
        )
    if not isfinite(value):
        raise InputError(
            f"Expected {what} in job {job.id!r} to be finite, but got {value}. If the training "
            "diverged, raise an exception; if the score is undefined for this task, use None.",
            "score-not-finite",
        )
    return float(value)


def _shown(value: object) -> str:
    text = repr(value)
    return f"{text[:80]}..." if len(text) > 80 else text


def read_scores(job: Job, text: str, where: str) -> object:
    """The scores in a file that a command wrote."""
    if not text.strip():
        raise InputError(
            f"Expected scores of job {job.id!r} in {where}, but it is missing or empty.",
            "no-scores",
        )
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(
            f"Expected scores of job {job.id!r} as JSON in {where}, but it is no JSON: {error}.",
            "bad-json",
        ) from error
