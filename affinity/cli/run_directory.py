"""Run directory: one folder per run, with its record, its files and its lock."""

import hashlib
import shlex
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path

import msgspec
from filelock import FileLock, Timeout

from affinity.audit.time_plan import TimePlan
from affinity.errors import InputError
from affinity.files import write_atomically
from affinity.recording import RecordingCost

from .early_checks import RECORD, no_run
from .options import RecordSettings, RunSettings

VERSION = 3
LOCK = ".lock"

TRACE = "trace.safetensors"
PARTIAL_TRACE = "trace.partial.safetensors"  # of a recorded run that was stopped
AFFINITY = "affinity.csv"
PLAN = "plan.yaml"
FRONTIER = "frontier.csv"
RACE, RACE_TABLE = "race.safetensors", "race.csv"
MEASUREMENTS, AUDIT = "measurements.safetensors", "audit.json"
TRAINED = "trained.safetensors"
PREDICTIONS = "predictions.csv"
DIAGNOSIS, DIAGNOSIS_JSON = "diagnosis.safetensors", "diagnosis.json"
OBJECTIVES, OBJECTIVES_JSON = "objectives.safetensors", "objectives.json"
TRANSFER_RESULTS, TRANSFER = "transfer.safetensors", "transfer.json"
TRANSFER_TABLE = "transfer.csv"
TRANSFER_PAGE = "transfer.html"
TUNING_PLAN = "tuning.yaml"
PAGE = "report.html"
STUDY_PAGE = "study.html"
FIGURES = "figures"  # a folder
HOLDOUT, HOLDOUT_JSON = "test_splits.safetensors", "test_splits.json"
SPLITS = "test_splits"  # a folder: the runs with the other test splits
TRAININGS = "trainings"  # a folder: finished trainings, reused when a stopped stage continues


@dataclass(frozen=True)
class StageRecord:
    """A finished stage: it is up to date while its inputs and the hashes of its files hold."""

    inputs: Mapping[str, object]  # what it was made from: hashes of files, and settings
    outputs: Mapping[str, str | None]  # files that it wrote, with hashes of their content
    seconds: float
    cost: RecordingCost | None = None  # of recording
    estimator: str | None = None  # of the affinities, with its settings


@dataclass(frozen=True)
class RunRecord:
    """The content of run.json."""

    settings: RunSettings  # all that affect the result, except the data
    fingerprint: str  # a hash of the data
    problem: str
    command: str
    versions: Mapping[str, str]  # of Python and the libraries that results depend on
    stages: Mapping[str, StageRecord] = field(default_factory=dict[str, StageRecord])
    time_plan: TimePlan | None = None  # what the audit trains to keep its time limit
    schema_version: int = VERSION


@dataclass(eq=False)
class RunDirectory:
    """The files of a run: run.json, trace.safetensors, affinity.csv, plan.yaml, ...

    A stage is noted in run.json after its files are written, so that nothing incomplete counts.
    """

    path: Path

    @classmethod
    def unused(cls, folder: Path, record: RunRecord) -> "RunDirectory":
        """The first of NAME, NAME-2, NAME-3, ... that is new or holds this run."""
        number = 1
        while True:
            directory = cls(folder if number == 1 else folder.with_name(f"{folder.name}-{number}"))
            try:
                existing = directory._existing()
            except InputError:
                number += 1
                continue
            if existing is None or not _differences(existing, record, RunSettings):
                return directory
            number += 1

    @cached_property
    def record(self) -> RunRecord:
        """The content of run.json; read once."""
        if (existing := self._existing()) is None:
            raise no_run(self.path)
        return existing

    @contextmanager
    def open(self, record: RunRecord) -> Generator[None]:
        """Create the folder for this run, or continue the one in it; hold its lock."""
        self._existing()  # before anything is written to a folder that is not ours
        with self._lock(create=True):
            existing = self._existing()
            if existing is None:
                self._write(record)
            elif differences := _differences(existing, record, RecordSettings):
                raise InputError(
                    f"Expected the folder {str(self.path)!r} to be new or to hold this run, but it "
                    f"holds another one ({'; '.join(differences)}). Choose another --out, or "
                    "remove the folder.",
                    "another-run",
                )
            elif existing.settings != record.settings:
                self._write(replace(record, stages=existing.stages, time_plan=existing.time_plan))
            else:
                self.record = existing
            yield

    @contextmanager
    def reopen(self) -> Generator[None]:
        """Hold the lock of an existing run, to add to it."""
        _ = self.record
        with self._lock():
            self.__dict__.pop("record")  # another process may have written to it until now
            yield

    def file(self, name: str) -> Path:
        """A file of the run."""
        return self.path / name

    def hash_of(self, name: str) -> str | None:
        """A hash of a file's content; None if there is no such file."""
        try:
            return hashlib.sha256(self.file(name).read_bytes()).hexdigest()[:16]
        except FileNotFoundError:
            return None
        except OSError as error:
            raise InputError(
                f"Could not read {str(self.file(name))!r}: {error.strerror}.", "unreadable-file"
            ) from error

    def finished(self, stage: str) -> StageRecord | None:
        """The record of a finished stage; None if it has not run."""
        return self.record.stages.get(stage)

    def is_done(self, stage: str, inputs: Mapping[str, object] | None = None) -> bool:
        """Whether the stage ran, with these inputs if given, and its files are unchanged."""
        finished = self.finished(stage)
        return (
            finished is not None
            and (inputs is None or finished.inputs == inputs)
            and all(self.hash_of(name) == digest for name, digest in finished.outputs.items())
        )

    def require(self, stage: str) -> StageRecord:
        """The record of a finished stage whose files are unchanged."""
        finished = self.finished(stage)
        again = shlex.quote(str(self.path))
        command = f"affinity {stage} {again}"
        if stage == "record":
            command = f"affinity record SOURCE --out {again}"
        if finished is None:
            raise InputError(
                f"Expected a finished stage {stage!r} in {str(self.path)!r}, but there is none. "
                f"Run it first: {command}",
                "missing-stage",
            )
        changed = [
            name for name, digest in finished.outputs.items() if self.hash_of(name) != digest
        ]
        if changed:
            raise InputError(
                f"Expected {changed} in {str(self.path)!r} as `affinity {stage}` wrote them, but "
                f"they are missing, truncated or changed. Run it again: {command}",
                "changed-file",
            )
        return finished

    @contextmanager
    def stage(
        self, name: str, inputs: Mapping[str, object], outputs: Sequence[str]
    ) -> Generator[dict[str, object]]:
        """Run a stage inside this block; fields put into the dict are recorded with it."""
        start = time.perf_counter()
        more: dict[str, object] = {}
        yield more
        finished = StageRecord(
            inputs=inputs,
            outputs={output: self.hash_of(output) for output in outputs},
            seconds=round(time.perf_counter() - start, 2),
            **more,  # pyright: ignore[reportArgumentType]
        )
        self._write(replace(self.record, stages={**self.record.stages, name: finished}))

    def keep_time_plan(self, plan: TimePlan) -> None:
        """Write the time plan to run.json, so that the run continues with it."""
        if plan != self.record.time_plan:
            self._write(replace(self.record, time_plan=plan))

    @contextmanager
    def _lock(self, create: bool = False) -> Generator[None]:
        lock = FileLock(self.file(LOCK), timeout=0)
        try:
            if create:
                self.path.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except Timeout:
            raise InputError(
                f"The run {str(self.path)!r} is locked by another process. Wait until it has "
                "finished, or choose another --out.",
                "locked-run",
            ) from None
        except (OSError, NotImplementedError) as error:
            raise InputError(
                f"Could not write to the folder {str(self.path)!r}: {error}. Choose an --out that "
                "can be written to, or copy the run to such a place.",
                "unwritable-folder",
            ) from error
        try:
            yield
        finally:
            lock.release()

    def _existing(self) -> RunRecord | None:
        file = self.file(RECORD)
        if self.path.exists() and not self.path.is_dir():
            raise InputError(
                f"Expected a folder at {str(self.path)!r}, but it is a file.", "not-a-folder"
            )
        if not file.exists():
            if self.path.is_dir() and any(entry.name != LOCK for entry in self.path.iterdir()):
                raise InputError(
                    f"Expected the folder {str(self.path)!r} to be new or to hold a run, but it "
                    "holds other files. Choose another --out.",
                    "not-a-run",
                )
            return None
        try:
            content = file.read_bytes()
            version = msgspec.json.decode(content, type=_Version)
            if version.schema_version == VERSION:
                return msgspec.json.decode(content, type=RunRecord)
        except (msgspec.DecodeError, OSError) as error:
            raise InputError(
                f"Could not read the run's description {str(file)!r} ({error}). Choose another "
                "--out, or remove the folder.",
                "damaged-file",
            ) from error
        raise InputError(
            f"Expected a run of version {VERSION} in {str(self.path)!r}, but it has version "
            f"{version.schema_version}. Make it again in another folder: {version.command} --out "
            "NEW",
            "other-version",
        )

    def _write(self, record: RunRecord) -> None:
        content = msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n"
        write_atomically(self.file(RECORD), content)
        self.record = record


@dataclass(frozen=True)
class _Version:
    schema_version: int
    command: str = "affinity audit SOURCE"


def _differences(old: RunRecord, new: RunRecord, settings: type) -> list[str]:
    """The differences in data and settings."""
    pairs = {"data": (old.fingerprint, new.fingerprint)} | {
        entry.name: (getattr(old.settings, entry.name), getattr(new.settings, entry.name))
        for entry in fields(settings)
    }
    return [
        f"{name}: {before!r} in the folder, {now!r} now"
        for name, (before, now) in pairs.items()
        if before != now
    ]
