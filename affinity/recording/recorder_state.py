"""Recorder state: all that changes from one observation to the next and survives a resume."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, cast

from torch import Tensor

from affinity.errors import InputError, warn
from affinity.storage import flatten, unflatten

from .schedule import Timing
from .task_round import PATIENCE, TaskRound
from .trace import Trace

VERSION = 4

SketchMethod = Literal["double backward", "forward mode", "none"]


@dataclass
class SearchState:
    """What the search for shared parameters knows.

    Args:
        shared: Names of the parameters that at least two tasks reach.
        owners: For each other parameter the task that reached each element, counted from 1; 0:
            none did.
        searched: The tasks whose gradients were searched.
        searches: Number of observations at which the search could continue.
    """

    shared: set[str] = field(default_factory=set[str])
    owners: dict[str, Tensor] = field(default_factory=dict[str, Tensor])
    searched: set[str] = field(default_factory=set[str])
    searches: int = 0


@dataclass
class RecorderState:
    """The state of a recorder between two observations.

    Args:
        random_state: Of the generator that draws the directions of sketches.
        tasks: Names of the tasks, once known.
        step: Number of observations so far.
        measurements: What was recorded, in parts that follow each other in time.
        timing: Time of the run and its measurements.
        sketch_method: The first method that the run's graphs allow; ``"none"``: no sketches.
        first_source: The next source, where measurements take turns.
        begun: Number of measurements begun since one was finished: above 0 while waiting for the
            next micro-batch.
        is_closure_exact: Whether the closure returns, bit for bit, the losses given to `observe`,
            so that they need not be evaluated again.
        has_factors: Whether factored gradients were cheaper when last checked.
        warned: Tasks (or an empty string) and codes of warnings that were issued.
        search: What the search for shared parameters knows.
        round: The measurement over consecutive observations that is not complete.
        complete: How often all tasks were measured together.
        pairs: How often each source was measured with each target at other times.
        absent: Tasks that the last rounds did not meet.
    """

    random_state: Tensor
    tasks: tuple[str, ...] | None = None
    step: int = 0
    measurements: list[Trace] = field(default_factory=list[Trace])
    timing: Timing = field(default_factory=Timing)
    sketch_method: SketchMethod = "double backward"
    first_source: int = 0
    begun: int = 0
    is_closure_exact: bool = False
    has_factors: bool = True
    warned: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    search: SearchState = field(default_factory=SearchState)
    round: TaskRound | None = None
    complete: int = 0
    pairs: dict[str, dict[str, int]] = field(default_factory=dict[str, dict[str, int]])
    absent: set[str] = field(default_factory=set[str])

    def warn_once(self, message: str, code: str, task: str = "") -> None:
        """Warn, once per run, task and code."""
        if (task, code) not in self.warned:
            self.warned.add((task, code))
            warn(message, code)

    def begin_round(self, present: Sequence[str]) -> None:
        """Begin a round, if the batch holds one task, or lacks pairs that are rarely measured."""
        assert self.tasks is not None
        self.absent.difference_update(present)
        expected = [task for task in self.tasks if task not in self.absent]
        if len(present) == len(self.tasks):
            self.complete += 1
            self.round = None
            return
        self._count((source, target) for source in present for target in present)
        wanted = {(i, j) for i in expected for j in expected if i != j}
        wanted -= {(i, j) for i in present for j in present}
        if len(present) > 1:
            usual = max(count for counts in self.pairs.values() for count in counts.values())
            most = (usual - self.complete) / 2
            wanted = {(i, j) for i, j in wanted if self.pairs.get(i, {}).get(j, 0) <= most}
        self.round = TaskRound(wanted, PATIENCE * len(expected)) if wanted else None

    def finish_round(self) -> None:
        """Count an observation of the round, and end it when it is complete."""
        if self.round is None:
            return
        self.round.left -= 1
        if self.round.is_finished:
            self._count(self.round.measured)
            missed = {task for pair in self.round.wanted for task in pair}
            self.absent |= missed - self.round.kept.keys()
            self.round = None

    def _count(self, pairs: Iterable[tuple[str, str]]) -> None:
        for source, target in pairs:
            counts = self.pairs.setdefault(source, {})
            counts[target] = counts.get(target, 0) + 1

    def next_sources(self, tasks: tuple[str, ...], count: int) -> tuple[str, ...]:
        """The next `count` sources in turn.

        Example:
            >>> import torch
            >>> state = RecorderState(torch.empty(0))
            >>> state.next_sources(("a", "b", "c"), 2), state.next_sources(("a", "b", "c"), 2)
            (('a', 'b'), ('c', 'a'))
        """
        if count >= len(tasks):
            return tasks
        sources = (tasks * 2)[self.first_source : self.first_source + count]
        self.first_source = (self.first_source + count) % len(tasks)
        return sources

    def pack(self) -> dict[str, Tensor | str]:
        """Tensors and a JSON text, as ``torch.load(weights_only=True)`` and safetensors accept."""
        about, tensors = flatten(self)
        tensors = {name: value.to_dense() for name, value in tensors.items()}  # safetensors
        return {**tensors, "recorder": json.dumps({"version": VERSION, "state": about})}

    @classmethod
    def unpack(cls, state: Mapping[str, Tensor | str]) -> "RecorderState":
        """Read what `pack` wrote.

        Raises:
            InputError: If it is of another version.
        """
        tensors = {name: value.cpu() for name, value in state.items() if isinstance(value, Tensor)}
        content = json.loads(cast("str", state["recorder"]))
        if content["version"] != VERSION:
            raise InputError(
                f"Expected a recorder's state of version {VERSION}, but got version "
                f"{content['version']}: resume with the version of task-affinity that wrote it.",
                "other-version",
            )
        return unflatten(cls, content["state"], tensors)
