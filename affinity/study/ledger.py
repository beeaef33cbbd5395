"""The ledger: an append-only file of everything that happened to the trainings of a study.

One JSON object per line. A line counts once it ends in a newline; an incomplete last line is
removed by the next writer. One process writes at a time, under a file lock.
"""

import os
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import msgspec
from filelock import FileLock, Timeout

from affinity.errors import InputError
from affinity.tasks import Score
from affinity.training import Job, Result

VERSION = 1
LEDGER = "ledger.jsonl"
_LOCK, _RUNNERS = "ledger.lock", "runners"
_PATIENCE = 120.0  # seconds to wait for the lock

State = Literal["waiting", "running", "done", "failed", "stale"]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


class _Event(msgspec.Struct, kw_only=True, tag_field="event", omit_defaults=True):
    """A line of the ledger."""

    time: str = msgspec.field(default_factory=_now)


class Created(_Event, tag="created"):
    """The study's settings; the first line."""

    version: int
    study: str
    tasks: dict[str, Score]
    budget: int
    trainings: int
    tolerance: float
    seed: int
    prior: list[str]
    merging: list[str] = []


class Extended(_Event, tag="extended"):
    """More trainings are allowed."""

    trainings: int


class Planned(_Event, tag="planned"):
    """A training was planned and waits."""

    job: Job
    why: str


class Started(_Event, tag="started"):
    """A job was handed out; `runner` names the process that runs it, if it is a `Study.run`."""

    id: str
    runner: str | None = None


class Released(_Event, tag="released"):
    """A job waits again: its run was stopped, or it is to be retried."""

    id: str


class Told(_Event, tag="told"):
    """Scores were recorded."""

    id: str
    validation: dict[str, float] | None = None
    test: dict[str, float] | None = None
    rows: dict[str, tuple[float, ...]] | None = None
    parameters: int | None = None
    seconds: float | None = None


class Failed(_Event, tag="failed"):
    """A training failed."""

    id: str
    reason: str
    code: str
    seconds: float | None = None


class Added(_Event, tag="added"):
    """A run from before the study, with its scores."""

    job: Job
    validation: dict[str, float]


class AuditPlanned(_Event, tag="audit"):
    """An audit of a plan on these seeds was planned, with its trainings.

    A plan that the user gave is judged itself; otherwise the audit decides.
    """

    plan: str  # YAML
    seeds: list[int]
    baselines: list[str] | None = None
    accepts: list[str] = []
    is_given: bool = False

    def is_same(self, other: "AuditPlanned") -> bool:
        """Whether both are the same audit, planned at any time."""
        return msgspec.structs.replace(self, time=other.time) == other


Event = Created | Extended | Planned | Started | Released | Told | Failed | Added | AuditPlanned


@dataclass
class Entry:
    """A job with its state, result and history."""

    job: Job
    why: str  # it was planned
    # in the ledger; `Ledger.state_of` also checks whether a running job is stale
    state: State = "waiting"
    result: Result | None = None  # the scores, or the last failure
    runner: str | None = None  # name of the process that runs it
    history: list[Event] = field(default_factory=list[Event])  # every event with this job
    is_past: bool = False  # run before the study

    @property
    def is_done(self) -> bool:
        """Whether there are scores."""
        return self.state == "done"

    @property
    def has_ended(self) -> bool:
        """Whether there are scores, or it failed."""
        return self.state in ("done", "failed")

    def apply(self, event: Started | Released | Told | Failed) -> None:
        """Apply one event of the job."""
        match event:
            case Started():
                self.state, self.runner = "running", event.runner
            case Released():
                self.state, self.runner = "waiting", None
            case Told():
                scores = (event.validation, event.test, event.rows)
                self.state = "done"
                self.result = Result(self.job, *scores, event.parameters, event.seconds)
            case Failed():
                self.state = "failed"
                self.result = Result.failed(self.job, event.reason, event.code, event.seconds)
        self.history.append(event)


@dataclass
class Contents:
    """The content of the ledger."""

    created: Created | None = None  # the settings; None while the ledger is empty
    trainings: int = 0  # maximum number of trainings that decide
    audit: AuditPlanned | None = None  # the latest
    # numbers of replicates at which the latest audit had ended before it was extended
    looks: tuple[int, ...] = ()
    # by id, in the order in which they were planned
    entries: dict[str, Entry] = field(default_factory=dict[str, Entry])
    # ids, in the order in which they ended
    ended: dict[str, None] = field(default_factory=dict[str, None])

    def entry(self, job_id: str) -> Entry:
        """The entry of a job."""
        if job_id not in self.entries:
            study = self.created.study if self.created else "?"
            raise InputError(
                f"Expected a job of this study ({study}-1, {study}-2, ...), but got {job_id!r}, "
                "which was never handed out.",
                "unknown-job",
            )
        return self.entries[job_id]

    def _looks_before(self, audit: AuditPlanned) -> tuple[int, ...]:
        """The looks at the results that an audit extends."""
        latest = self.audit
        if latest is None or audit.seeds[: len(latest.seeds)] != latest.seeds:
            return ()
        judged = [entry for entry in self.entries.values() if entry.job.seed in latest.seeds]
        has_ended = bool(judged) and all(entry.has_ended for entry in judged)
        is_longer = len(audit.seeds) > len(latest.seeds)
        return (*self.looks, len(latest.seeds)) if has_ended and is_longer else self.looks

    def apply(self, event: Event) -> None:
        """Apply one event."""
        match event:
            case Created():
                self.created, self.trainings = event, event.trainings
            case Extended():
                self.trainings = event.trainings
            case AuditPlanned():
                self.looks = self._looks_before(event)
                self.audit = event
            case Planned():
                self.entries[event.job.id] = Entry(event.job, event.why, history=[event])
            case Added():
                result = Result(event.job, validation=event.validation)
                self.entries[event.job.id] = Entry(
                    event.job, "a past run", "done", result, history=[event], is_past=True
                )
                self.ended[event.job.id] = None
            case Started() | Released() | Told() | Failed():
                entry = self.entries[event.id]
                entry.apply(event)
                if entry.has_ended:
                    self.ended[event.id] = None
                elif isinstance(event, Released):
                    self.ended.pop(event.id, None)


class Ledger:
    """The ledger in a folder; any number of threads and processes may use it at the same time.

    Args:
        folder: The study's folder; it is created if it does not exist.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.path = self.folder / LEDGER
        self._contents = Contents()
        self._read = 0  # bytes
        self._lines = 0
        self._lock = threading.RLock()
        self._is_writing = False
        self._decoder = msgspec.json.Decoder(Event)
        self._encoder = msgspec.json.Encoder()

    def exists(self) -> bool:
        """Whether there is a ledger in the folder, with its settings."""
        with self.reading() as contents:
            return contents.created is not None

    @contextmanager
    def reading(self) -> Generator[Contents]:
        """The current content; other threads wait until the block ends."""
        with self._lock:
            if not self._is_writing:
                self._refresh()
            yield self._contents

    @contextmanager
    def writing(self) -> Generator[Contents]:
        """The current content; no other process writes until the block ends.

        Raises:
            InputError: If another process keeps the lock, or the folder cannot be written to.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.folder / _LOCK, timeout=_PATIENCE, poll_interval=0.01)
            with self._lock, lock:
                self._cut_off_unfinished()
                self._refresh()
                self._is_writing = True
                try:
                    yield self._contents
                finally:
                    self._is_writing = False
        except Timeout as error:
            raise InputError(
                f"Expected to write to the study in {str(self.folder)!r}, but another process has "
                f"kept it locked for {_PATIENCE:.0f} s. Wait for it, or end it.",
                "study-locked",
            ) from error
        except OSError as error:
            raise _cannot_write(self.path, error) from error

    def append(self, *events: Event) -> None:
        """Write events, all or none, to the disk; only inside `writing`.

        Raises:
            InputError: If the disk is full, for example.
        """
        assert self._is_writing
        data = b"".join(self._encoder.encode(event) + b"\n" for event in events)
        is_new = not self.path.exists()
        with self.path.open("ab", buffering=0) as file:
            try:
                written = file.write(data)
                if written != len(data):
                    raise OSError(0, "No space left on the disk")
                os.fsync(file.fileno())
            except OSError as error:
                os.ftruncate(file.fileno(), self._read)
                raise _cannot_write(self.path, error) from error
        if is_new:
            _sync_folder(self.folder)
        self._read += len(data)
        self._lines += len(events)
        for event in events:
            self._contents.apply(event)

    def state_of(self, entry: Entry) -> State:
        """The state of a job: stale if the process that ran it is gone."""
        if entry.state == "running" and entry.runner and not self.is_alive(entry.runner):
            return "stale"
        return entry.state

    @contextmanager
    def runner(self, name: str) -> Generator[str]:
        """A name under which this process runs jobs; it is alive while the block runs.

        The operating system releases the lock however the process ends.
        """
        lock = self._runner_lock(name)
        lock.acquire(timeout=0)
        try:
            yield name
        finally:
            lock.release()
            (self.folder / _RUNNERS / name).unlink(missing_ok=True)

    def is_alive(self, runner: str) -> bool:
        """Whether the process with this name is still running."""
        if not (self.folder / _RUNNERS / runner).exists():
            return False
        lock = self._runner_lock(runner)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return True
        lock.release()
        return False

    def _runner_lock(self, name: str) -> FileLock:
        (self.folder / _RUNNERS).mkdir(parents=True, exist_ok=True)
        return FileLock(self.folder / _RUNNERS / name, is_singleton=False)

    def _refresh(self) -> None:
        """Read what was appended since the last time."""
        try:
            with self.path.open("rb") as file:
                file.seek(self._read)
                data = file.read()
        except FileNotFoundError:
            return
        except OSError as error:
            raise InputError(
                f"Expected a folder of a study at {str(self.folder)!r}, but it could not be read: "
                f"{error.strerror}.",
                "unreadable-study",
            ) from error
        end = data.rfind(b"\n") + 1
        for line in data[:end].splitlines():
            self._lines += 1
            try:
                self._contents.apply(self._decoder.decode(line))
            except (msgspec.MsgspecError, InputError, KeyError, UnicodeDecodeError) as error:
                raise InputError(
                    f"Expected a ledger of version {VERSION} in {str(self.path)!r}, but line "
                    f"{self._lines} is damaged or was written by another version: {error}.",
                    "damaged-ledger",
                ) from error
        self._read += end

    def _cut_off_unfinished(self) -> None:
        """Remove the incomplete last line of a writer that was killed."""
        if not self.path.exists():
            return
        with self.path.open("r+b") as file:
            file.seek(self._read)
            data = file.read()
            end = data.rfind(b"\n") + 1
            if end < len(data):
                file.truncate(self._read + end)


def _cannot_write(path: Path, error: OSError) -> InputError:
    return InputError(
        f"Could not write to {str(path)!r}: {error.strerror}. Choose a folder that can be written "
        "to and has space left.",
        "cannot-write",
    )


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
