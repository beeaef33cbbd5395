"""One folder a run: what was asked for, and what each stage left."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from affinity.errors import InputError
from affinity.files import write_atomically

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class RunDirectory:
    """Where a run keeps its files: run.json, trace.safetensors, affinity.csv, plan.yaml, ...

    Args:
        path: The folder; made when the run is opened.
    """

    path: Path

    def open(self, what: Mapping[str, Any], about: Mapping[str, Any]) -> None:
        """Make the folder for this run, or go on with the one that is there.

        Args:
            what: What decides the result: options and the data's fingerprint.
            about: What else to note: command, versions.

        Raises:
            InputError: If the folder holds something else.
        """
        existing = self._existing()
        if existing is not None and (differing := _differences(existing["what"], what)):
            raise InputError(
                f"Expected the folder {str(self.path)!r} to be new or to hold this run, but it "
                f"holds another one ({'; '.join(differing)}). Choose another --out, or remove it."
            )
        if existing is None:
            self._write({"schema_version": SCHEMA_VERSION, "what": dict(what), **about})

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

    def note(self, stage: str, seconds: float) -> None:
        """Note that a stage is done, and how long it took."""
        body = self._existing() or {}
        body.setdefault("seconds", {})[stage] = round(seconds, 2)
        self._write(body)

    @property
    def seconds(self) -> dict[str, float]:
        """How long each finished stage took."""
        return (self._existing() or {}).get("seconds", {})

    def file(self, name: str) -> Path:
        """A file of the run."""
        return self.path / name

    def _existing(self) -> dict[str, Any] | None:
        file = self.file("run.json")
        if not file.exists():
            if self.path.is_dir() and any(self.path.iterdir()):
                raise InputError(
                    f"Expected the folder {str(self.path)!r} to be new or to hold a run, but it "
                    "holds other files. Choose another --out."
                )
            if self.path.exists() and not self.path.is_dir():
                raise InputError(f"Expected a folder at {str(self.path)!r}, but it is a file.")
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
            raise InputError(
                f"Expected a run of version {SCHEMA_VERSION} in {str(self.path)!r}, but it is of "
                f"version {version!r}. Run the audit again into another --out."
            )
        return body

    def _write(self, body: Mapping[str, Any]) -> None:
        text = json.dumps(body, indent=1, ensure_ascii=False) + "\n"
        write_atomically(self.file("run.json"), text)


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    before = {"fingerprint": old.get("fingerprint"), **old.get("options", {})}
    now = {"fingerprint": new["fingerprint"], **new["options"]}
    return [
        f"{name}: {before.get(name)!r} there, {now[name]!r} here"
        for name in now
        if before.get(name) != now[name]
    ]
