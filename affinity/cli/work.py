"""A run at work: its folder, what was asked for, its data, and what is said of it."""

import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from rich.console import Console
from rich.markup import escape

from affinity.errors import InputError
from affinity.problems import Problem

from .options import AuditOptions
from .run_directory import RunDirectory


@dataclass(frozen=True, eq=False)
class Work:
    """What every stage reads and writes.

    Args:
        run: The folder; its lock is held by whoever calls.
        options: What was asked for.
        console: Where to say what was done.
        read: The problem, where it was read already.
    """

    run: RunDirectory
    options: AuditOptions
    console: Console
    read: Problem | None = None

    @cached_property
    def problem(self) -> Problem:
        """The tasks and rows, as they were when the run was recorded.

        Raises:
            InputError: If the data are gone, or no longer the same.
        """
        problem = self.read or self.options.problem()
        was = self.run.body()["what"]["fingerprint"]
        if fingerprint_of(problem) != was:
            raise InputError(
                f"Expected the data of the run {str(self.run.path)!r} (fingerprint {was}), but "
                f"{self.options.source!r} holds others now ({fingerprint_of(problem)}). Record a "
                f"new run: affinity record {shlex.quote(self.options.source)} ..."
            )
        return problem

    def stands(self, what: str, name: str) -> None:
        """Say that a stage was not run again."""
        self.console.print(
            f"{what} is there, and nothing that it was made from changed: "
            f"{escape(str(self.run.file(name)))}",
            soft_wrap=True,
        )

    def wrote(self, stage: str, did: str, outputs: Iterable[str]) -> None:
        """Say what a stage did."""
        seconds = (self.run.noted(stage) or {})["seconds"]
        files = [escape(str(self.run.file(name))) for name in outputs]
        shown = ", ".join(files[:4]) + (f" and {len(files) - 4} more" if len(files) > 4 else "")
        self.console.print(
            f"[bold]{stage}[/bold]: {did}, {seconds:.1f} s; wrote {shown}", soft_wrap=True
        )


def fingerprint_of(problem: Problem) -> str:
    """What tells the data from others."""
    return problem.source.fingerprint or "built in"
