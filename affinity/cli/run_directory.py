"""One folder a run: what was asked for, what each stage read and left, and who writes to it."""

import hashlib
import json
import shlex
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from affinity.errors import InputError
from affinity.files import write_atomically

SCHEMA_VERSION = 2
LOCK = ".lock"
LATER_OPTIONS = (
    "estimator",
    "budget",
    "overlap",
    "sharing",
    "verify",
    "race_minutes",
    "tolerance",
    "plan",
    "replicates",
    "minutes",
    "max_replicates",
    "baselines",
)
"""Options of stages after the recorded run: other ones make later stages run again."""


@dataclass(frozen=True)
class RunDirectory:
    """Where a run keeps its files: run.json, trace.safetensors, affinity.csv, plan.yaml, ...

    A stage is done when run.json has what it read (hashes of files, and options) and hashes of
    what it left; it is noted after its files stand, so that nothing half-written counts.

    Args:
        path: The folder; made when the run is opened.
    """

    path: Path

    @classmethod
    def fresh(cls, folder: Path, what: Mapping[str, Any]) -> "RunDirectory":
        """The first of NAME, NAME-2, NAME-3, ... that is new or holds this very run."""
        number = 1
        while True:
            run = cls(folder if number == 1 else folder.with_name(f"{folder.name}-{number}"))
            try:
                existing = run._existing()
            except InputError:
                existing = {"what": {}}
            if existing is None or not _differences(existing["what"], what):
                return run
            number += 1

    @contextmanager
    def opened(self, what: Mapping[str, Any], about: Mapping[str, Any]) -> Generator[None]:
        """Make the folder for this run, or go on with the one that is there; hold its lock.

        Args:
            what: What decides the result: options and the data's fingerprint.
            about: What else to note: command, versions.

        Raises:
            InputError: If the folder holds something else, cannot be written to, or another
                process is writing to it.
        """
        self._existing()  # says so before anything is written to a folder that is not ours
        with self._locked(make=True):
            existing = self._existing()
            if existing is None:
                self._write({"schema_version": SCHEMA_VERSION, "what": dict(what), **about})
            elif differing := _differences(existing["what"], what, ignored=LATER_OPTIONS):
                raise InputError(
                    f"Expected the folder {str(self.path)!r} to be new or to hold this run, but it "
                    f"holds another one ({'; '.join(differing)}). Choose another --out, or remove "
                    "it."
                )
            elif existing["what"] != what:
                self._write({**existing, "what": dict(what), **about})
            yield

    @contextmanager
    def reopened(self) -> Generator[None]:
        """Hold the lock of a run that is there, to add to it."""
        self.body()
        with self._locked():
            yield

    def body(self) -> dict[str, Any]:
        """What run.json says.

        Raises:
            InputError: If there is no run here.
        """
        existing = self._existing()
        if existing is None:
            raise InputError(
                f"Expected a run in the folder {str(self.path)!r}, but there is none. Make one: "
                f"affinity record SOURCE --out {shlex.quote(str(self.path))}"
            )
        return existing

    def file(self, name: str) -> Path:
        """A file of the run."""
        return self.path / name

    def hash_of(self, name: str) -> str | None:
        """A hash of a file's content; None where there is no such file."""
        try:
            return hashlib.sha256(self.file(name).read_bytes()).hexdigest()[:16]
        except FileNotFoundError:
            return None
        except OSError as error:
            raise InputError(
                f"Could not read {str(self.file(name))!r}: {error.strerror}."
            ) from error

    def noted(self, stage: str) -> dict[str, Any] | None:
        """What is noted of a finished stage: inputs, outputs, seconds, and what it wanted noted."""
        return self.body().get("stages", {}).get(stage)

    def is_done(self, stage: str, inputs: Mapping[str, Any] | None = None) -> bool:
        """Whether the stage ran, with these inputs if given, and its files stand untouched."""
        noted = self.noted(stage)
        return (
            noted is not None
            and (inputs is None or noted["inputs"] == inputs)
            and all(self.hash_of(name) == digest for name, digest in noted["outputs"].items())
        )

    def require(self, stage: str) -> dict[str, Any]:
        """What is noted of a stage whose files stand.

        Raises:
            InputError: If the stage did not run, or a file is no longer what it wrote.
        """
        noted = self.noted(stage)
        again = shlex.quote(str(self.path))
        command = (
            f"affinity {stage} {again}"
            if stage != "record"
            else f"affinity record SOURCE --out {again}"
        )
        if noted is None:
            raise InputError(
                f"Expected a finished stage {stage!r} in {str(self.path)!r}, but there is none. "
                f"Run it first: {command}"
            )
        changed = [
            name for name, digest in noted["outputs"].items() if self.hash_of(name) != digest
        ]
        if changed:
            raise InputError(
                f"Expected {changed} in {str(self.path)!r} as `affinity {stage}` wrote them, but "
                f"they are missing, truncated or something else. Run it again: {command}"
            )
        return noted

    @contextmanager
    def stage(
        self, name: str, inputs: Mapping[str, Any], outputs: Sequence[str]
    ) -> Generator[dict[str, Any]]:
        """Run a stage inside this block; what is put into the dict is noted with it."""
        start = time.perf_counter()
        about: dict[str, Any] = {}
        yield about
        note = {
            **about,
            "inputs": dict(inputs),
            "outputs": {output: self.hash_of(output) for output in outputs},
            "seconds": round(time.perf_counter() - start, 2),
        }
        body = self.body()
        self._write({**body, "stages": {**body.get("stages", {}), name: note}})

    @contextmanager
    def _locked(self, make: bool = False) -> Generator[None]:
        lock = FileLock(self.file(LOCK), timeout=0)
        try:
            if make:
                self.path.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except Timeout:
            raise InputError(
                f"Expected to be alone with the run {str(self.path)!r}, but another process is "
                "writing to it. Wait until it has finished, or choose another --out."
            ) from None
        except (OSError, NotImplementedError) as error:
            raise InputError(
                f"Could not write to the folder {str(self.path)!r}: {error}. Choose an --out that "
                "can be written to, or copy the run to such a place."
            ) from error
        try:
            yield
        finally:
            lock.release()

    def _existing(self) -> dict[str, Any] | None:
        file = self.file("run.json")
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"Expected a folder at {str(self.path)!r}, but it is a file.")
        if not file.exists():
            if self.path.is_dir() and any(entry.name != LOCK for entry in self.path.iterdir()):
                raise InputError(
                    f"Expected the folder {str(self.path)!r} to be new or to hold a run, but it "
                    "holds other files. Choose another --out."
                )
            return None
        try:
            body = json.loads(file.read_text(encoding="utf-8"))
            version = body["schema_version"]
            body["what"]["options"]
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise InputError(
                f"Expected a run's description in {str(file)!r}, but could not read it ({error}). "
                "Choose another --out, or remove the folder."
            ) from error
        if version != SCHEMA_VERSION:
            made_by = body.get("command", "affinity audit SOURCE")
            raise InputError(
                f"Expected a run of version {SCHEMA_VERSION} in {str(self.path)!r}, but it is of "
                f"version {version!r}. Make it again in another folder: {made_by} --out NEW"
            )
        return body

    def _write(self, body: Mapping[str, Any]) -> None:
        text = json.dumps(body, indent=1, ensure_ascii=False) + "\n"
        write_atomically(self.file("run.json"), text)


def _differences(
    old: Mapping[str, Any], new: Mapping[str, Any], ignored: Sequence[str] = ()
) -> list[str]:
    before = {"fingerprint": old.get("fingerprint"), **old.get("options", {})}
    now = {"fingerprint": new["fingerprint"], **new["options"]}
    return [
        f"{name}: {before.get(name)!r} there, {now[name]!r} here"
        for name in now
        if before.get(name) != now[name] and name not in ignored
    ]
