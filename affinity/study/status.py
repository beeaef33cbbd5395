"""The progress of a study: numbers of its trainings, and one row per job and task."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import nan

import pandas as pd

from affinity.training import Result
from affinity.words import count

from .ledger import Contents, Entry, State

_COLUMNS = (
    *("job", "purpose", "state", "tasks", "sharing", "seed", "task"),
    *("validation", "test", "seconds", "why", "error"),
)


@dataclass(frozen=True)
class StudyStatus:
    """The progress of a study.

    Args:
        trainings: Maximum number of trainings that decide.
        waiting: Jobs that are planned and not yet handed out.
        running: Jobs that were handed out.
        done: Trainings with scores; merged networks are not counted.
        stale: Jobs whose process died; they are handed out again.
        past: Runs from before the study.
        judging: Jobs of audits and diagnoses, in any state; they count in none of the numbers
            above.
        judged: Those that have ended.
        seconds: The time that all trainings took together, as far as it is known.
        last_seconds: The time that the last training took.
        reasons: Reason of failure by job.
    """

    trainings: int
    waiting: int
    running: int
    done: int
    failed: int
    stale: int
    past: int
    judging: int
    judged: int
    seconds: float
    last_seconds: float | None
    reasons: Mapping[str, str]

    @property
    def left(self) -> int:
        """Number of trainings that may still be run."""
        return max(0, self.trainings - self.done - self.failed)

    def __str__(self) -> str:
        """A few lines for a terminal."""
        states = ", ".join(
            f"{getattr(self, state)} {state}"
            for state in ("done", "running", "waiting", "failed", "stale")
            if getattr(self, state)
        )
        lines = [f"At most {count(self.trainings, 'training')}: {states or 'none run'}"]
        if self.judging:
            lines.append(f"audits: {self.judged} of {count(self.judging, 'training')} ended")
        lines += [f"{job} failed: {reason}" for job, reason in self.reasons.items()]
        return "\n".join(lines)


def status_of(contents: Contents, state_of: Callable[[Entry], State]) -> StudyStatus:
    """The progress of a study."""
    entries = list(contents.entries.values())
    own = [e for e in entries if e.job.purpose == "decide" and not e.is_past]
    judging = [entry for entry in entries if entry.job.purpose == "judge"]
    trained = [entry for entry in own if entry.job.sharing == "hard"]
    counted = [e for e in own if e.job.sharing == "hard" or not e.has_ended]
    states = Counter(map(state_of, counted))
    seconds = [e.result.seconds for e in trained if e.result is not None and e.result.seconds]
    return StudyStatus(
        trainings=contents.trainings,
        waiting=states["waiting"],
        running=states["running"],
        done=states["done"],
        failed=states["failed"],
        stale=states["stale"],
        past=sum(entry.is_past for entry in entries),
        judging=len(judging),
        judged=sum(entry.has_ended for entry in judging),
        seconds=sum(seconds, 0.0),
        last_seconds=seconds[-1] if seconds else None,
        reasons={
            entry.job.id: entry.result.error
            for entry in (*own, *judging)
            if entry.state == "failed" and entry.result and entry.result.error
        },
    )


def frame_of(contents: Contents, state_of: Callable[[Entry], State]) -> pd.DataFrame:
    """One row per job and task: its state, and the scores where they are known."""
    rows = [row for entry in contents.entries.values() for row in _rows(entry, state_of(entry))]
    return pd.DataFrame(rows, columns=list(_COLUMNS))


def _rows(entry: Entry, state: State) -> Iterator[tuple[object, ...]]:
    job = entry.job
    result = entry.result or Result(job)
    for task in job.names:
        validation, test = (
            (part or {}).get(task, nan) for part in (result.validation, result.test)
        )
        seconds = nan if result.seconds is None else result.seconds
        yield (
            job.id,
            job.purpose,
            state,
            " + ".join(job.names),
            job.sharing,
            job.seed,
            task,
            validation,
            test,
            seconds,
            entry.why,
            result.error,
        )
