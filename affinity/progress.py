"""Progress of long work: a bar with the time left on a terminal, lines in a log."""

import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from .words import clock

_is_quiet: ContextVar[bool] = ContextVar("is_quiet", default=False)
_PATIENCE = 2.0  # seconds before a bar appears
_BETWEEN_LINES = 30.0  # seconds before a log gets a line, and between two lines
_KNOWN = 0.1  # share of the work from which the time left is estimated: many networks end at once


@contextmanager
def quiet() -> Generator[None]:
    """Show no progress inside this block."""
    token = _is_quiet.set(True)
    try:
        yield
    finally:
        _is_quiet.reset(token)


class Track:
    """How far the work is; `advance` moves the bar, which shows itself after two seconds.

    Where standard error is no terminal, a line is written every 30 seconds instead.
    """

    def __init__(self, description: str, total: int, *, is_shown: bool) -> None:
        self._description = description
        self._total = total
        self._done = 0
        self._is_shown = is_shown
        self._is_terminal = sys.stderr.isatty()
        self._start = self._last_line = time.monotonic()
        self._progress: Progress | None = None
        self._bar: int | None = None

    def advance(self, count: int = 1) -> None:
        """Report `count` more finished steps."""
        self._done += count
        if not self._is_shown:
            return
        if not self._is_terminal:
            self._write_line()
            return
        if self._progress is None:
            if time.monotonic() - self._start < _PATIENCE:
                return
            self._progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._progress.start()
            self._bar = self._progress.add_task(self._description, total=self._total)
        assert self._bar is not None
        self._progress.update(self._bar, completed=self._done)  # pyright: ignore[reportArgumentType]

    def _write_line(self) -> None:
        now = time.monotonic()
        if now - self._last_line < _BETWEEN_LINES:
            return
        self._last_line, spent = now, now - self._start
        line = f"{self._description}: {self._done} of {self._total}, {clock(spent)} so far"
        if self._done >= _KNOWN * self._total:
            left = spent * (self._total - self._done) / self._done
            line += f", about {clock(left)} left"
        print(line, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Remove the bar."""
        if self._progress is not None:
            self._progress.stop()


@contextmanager
def track(description: str, total: int) -> Generator[Track]:
    """A bar on a terminal's standard error for work that takes more than two seconds.

    In a log, a line every 30 seconds. Inside `quiet`, or inside another `track`, nothing is shown.
    """
    progress = Track(description, total, is_shown=not _is_quiet.get())
    try:
        with quiet():
            yield progress
    finally:
        progress.close()
