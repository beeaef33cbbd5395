"""Stopwatch: the time that a run takes."""

import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

_BUSY = 1.2  # times the processor time, beyond which a machine is busy with other work


@dataclass
class Stopwatch:
    """Wall time since the command was called, and how much of it the processor was there."""

    called: float = field(default_factory=time.monotonic)
    started: float = field(default_factory=time.monotonic)  # once libraries were imported
    started_cpu: float = field(default_factory=time.process_time)

    @property
    def seconds(self) -> float:
        """Wall time so far."""
        return time.monotonic() - self.called

    @property
    def waiting(self) -> float:
        """Wall time over processor time; 1 if the processor was there most of the time."""
        spent = time.monotonic() - self.started
        waiting = spent / max(time.process_time() - self.started_cpu, 1e-9)
        return waiting if spent > 5 and waiting > _BUSY else 1.0

    @contextmanager
    def stopped(self) -> Generator[None]:
        """Do not count what is done inside."""
        wall, cpu = time.monotonic(), time.process_time()
        yield
        self.called += time.monotonic() - wall
        self.started += time.monotonic() - wall
        self.started_cpu += time.process_time() - cpu
