"""The command trainer: jobs run by a command, one process per training."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from affinity.errors import InputError, check_number

from .children import LAUNCHER, end_group
from .function_trainer import SCORES
from .protocol import Job, Result, Setting, check_accepted, check_settings, read_scores
from .scheduling import run_jobs

LOG = "log.txt"
_SHOWN = 300  # characters of the end of a log in an error
_USUAL: Mapping[str, Setting] = {"width": 1, "length": 1, "rows": 1, "sharing": "hard"}
"""The placeholders for settings, with the values of a job that does not set them."""


@dataclass(frozen=True)
class CommandTrainer:
    """Runs a command for each job.

    The command is split into arguments without a shell. A token ``{tasks}`` becomes one argument
    per task; ``{seed}`` and ``{out}`` are replaced wherever they occur. The same values are in
    environment variables: ``AFFINITY_TASKS`` (a JSON list), ``AFFINITY_SEED``, ``AFFINITY_OUT``,
    and ``AFFINITY_SETTINGS`` (a JSON object with the settings of the job). The command writes
    ``{"click": 0.71, ...}`` or ``{"validation": {...}, "test": {...}}`` to ``{out}``.

    A command that can train with other settings says so by a placeholder: ``--width {width}`` is
    the width as a multiple of the usual one, 1 unless a job asks for another; ``{length}`` and
    ``{rows}`` likewise; ``{sharing}`` is the way to share, ``hard`` by default (`SETTINGS`).

    Its output is kept in ``folder/JOB/log.txt``. When this process ends, or is interrupted,
    running commands are ended, too.

    Args:
        command: For example ``python train.py --tasks {tasks} --seed {seed} --out {out}``.
        workers: Number of parallel commands; if None, one per entry of `gpus`, or 1 without
            GPUs.
        gpus: Each running command gets one of these as ``CUDA_VISIBLE_DEVICES``; a GPU that is
            named twice gets two commands at a time.
        timeout: Seconds after which a command is ended, with its children.
        retries: How many times a failed job is run again, with the same seed.
        settings: Settings that the command reads from ``AFFINITY_SETTINGS``, besides those that
            are placeholders.
        folder: Folder for the scores and the output of each job; a temporary folder if None.

    Raises:
        InputError: If the command is empty, its program is not found, ``{tasks}`` is part of a
            larger token, or there are more workers than GPUs.
    """

    command: str
    workers: int | None = None
    gpus: tuple[str, ...] = ()
    timeout: float | None = None
    retries: int = 0
    settings: Collection[str] = ()
    folder: Path | None = None

    def __post_init__(self) -> None:
        check_settings(self.settings)
        try:
            tokens = shlex.split(self.command)
        except ValueError as error:
            raise InputError(
                f"Expected a command, but {self.command!r} cannot be split: {error}.", "bad-command"
            ) from error
        if not tokens:
            raise InputError("Expected a command, but got an empty string.", "bad-command")
        if shutil.which(tokens[0]) is None:
            raise InputError(
                f"Expected a program that can be run, but {tokens[0]!r} was not found.",
                "unknown-program",
            )
        if mixed := [token for token in tokens if "{tasks}" in token and token != "{tasks}"]:
            raise InputError(
                "Expected {tasks} as an argument of its own, because it becomes one argument per "
                f"task, but got {mixed[0]!r}. AFFINITY_TASKS holds the tasks as a JSON list, too.",
                "tasks-in-token",
            )
        check_number("workers", self.workers, "no-workers", least=1)
        if self.gpus and (self.workers or 1) > len(self.gpus):
            raise InputError(
                f"Expected a GPU for each of the {self.workers} workers, but got "
                f"{list(self.gpus)}. Name a GPU twice to run two trainings on it.",
                "too-few-gpus",
            )

    @property
    def accepts(self) -> frozenset[str]:
        """The settings that jobs may have."""
        placeholders = {name for name in _USUAL if f"{{{name}}}" in self.command}
        return frozenset(self.settings) | placeholders

    def __call__(self, jobs: Iterable[Job]) -> Iterator[Result]:
        """Run the jobs; results come as they finish."""
        folder = self.folder or Path(tempfile.mkdtemp(prefix="affinity-"))
        workers = self.workers or len(self.gpus) or 1
        processes = _Processes(self, folder.absolute())
        executor = ThreadPoolExecutor(workers, thread_name_prefix="affinity-command")

        def accepted() -> Iterator[Job]:
            for job in jobs:
                check_accepted(self, [job])
                yield job

        try:
            yield from run_jobs(
                accepted(), lambda job: executor.submit(processes.run, job), workers, _explain
            )
        finally:
            processes.end()
            executor.shutdown(wait=True, cancel_futures=True)


class _Processes:
    """The running commands of one call."""

    def __init__(self, trainer: CommandTrainer, folder: Path) -> None:
        self._trainer = trainer
        self._folder = folder
        self._gpus: SimpleQueue[str] = SimpleQueue()
        for gpu in trainer.gpus:
            self._gpus.put(gpu)
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._is_ended = False

    def end(self) -> None:
        """End all commands; none starts afterwards."""
        with self._lock:
            self._is_ended = True
            running = list(self._running)
        for process in running:
            end_group(process)

    def run(self, job: Job) -> Result:
        """Run one job, and repeat it after a failure up to `retries` times."""
        gpu = self._gpus.get() if self._trainer.gpus else None
        try:
            result = self._run_once(job, gpu)
            for _ in range(self._trainer.retries):
                if not result.is_failed or self._is_ended:
                    break
                result = self._run_once(job, gpu)
            return result
        finally:
            if gpu is not None:
                self._gpus.put(gpu)

    def _run_once(self, job: Job, gpu: str | None) -> Result:
        folder = self._folder / job.id
        out, log = folder / SCORES, folder / LOG
        folder.mkdir(parents=True, exist_ok=True)
        out.unlink(missing_ok=True)
        arguments = _arguments(self._trainer.command, job, out)
        began = time.perf_counter()
        with log.open("ab") as output:
            output.write(f"$ {shlex.join(arguments)}\n".encode())
            output.flush()
            with self._lock:
                if self._is_ended:
                    return Result.failed(job, "The trainer was stopped.", "stopped")
                process = subprocess.Popen(
                    [*LAUNCHER, str(os.getpid()), *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=_environment(job, out, gpu),
                    start_new_session=True,
                )
                self._running.add(process)
            try:
                status: int | None = process.wait(self._trainer.timeout)
            except subprocess.TimeoutExpired:
                end_group(process)
                status = None
            finally:
                with self._lock:
                    self._running.discard(process)
        seconds = time.perf_counter() - began
        if status == 0:
            try:
                text = out.read_text(encoding="utf-8") if out.exists() else ""
                return Result.of(job, read_scores(job, text, str(out)), seconds)
            except UnicodeDecodeError:
                what = f"Expected scores of job {job.id!r} as JSON in {out}, but it is not text."
                error = InputError(what, "bad-json")
            except InputError as invalid:
                error = invalid
            return Result.failed(job, f"{error} {_output_in(log)}", error.code, seconds)
        if status is None:
            what = f"The command of job {job.id!r} was ended after {self._trainer.timeout:g} s."
            return Result.failed(job, f"{what} {_output_in(log)}", "timeout", seconds)
        how = f"ended with exit status {status}"
        if status < 0:
            with suppress(ValueError):
                how = f"was ended by {signal.Signals(-status).name}"
        what = f"The command of job {job.id!r} {how}."
        return Result.failed(job, f"{what} {_output_in(log)}", "exit-status", seconds)


def _arguments(command: str, job: Job, out: Path) -> list[str]:
    settings = {**_USUAL, "sharing": job.sharing, **job.settings}
    values = {**{name: settings[name] for name in _USUAL}, "seed": job.seed, "out": out}
    arguments: list[str] = []
    for token in shlex.split(command):
        if token == "{tasks}":
            arguments += job.names
            continue
        for name, value in values.items():
            token = token.replace(f"{{{name}}}", str(value))
        arguments.append(token)
    return arguments


def _environment(job: Job, out: Path, gpu: str | None) -> dict[str, str]:
    sharing = {"sharing": job.sharing} if job.sharing != "hard" else {}
    return {
        **os.environ,
        "AFFINITY_TASKS": json.dumps(job.names),
        "AFFINITY_SEED": str(job.seed),
        "AFFINITY_OUT": str(out),
        "AFFINITY_SETTINGS": json.dumps({**job.settings, **sharing}),
        **({} if gpu is None else {"CUDA_VISIBLE_DEVICES": gpu}),
    }


def _output_in(log: Path) -> str:
    """The path of a command's output, and its last characters."""
    end = log.read_bytes()[-4 * _SHOWN :].decode(errors="replace").strip()[-_SHOWN:]
    return f"Its output is in {log}; it ends with: {end}"


def _explain(job: Job, error: Exception) -> Result:
    return Result.failed(job, f"{type(error).__name__}: {error}", "exception")
