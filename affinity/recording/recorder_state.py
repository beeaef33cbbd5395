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
    """What the search for shared parameters knows."""

    shared: set[str] = field(default_factory=set[str])  # reached by at least two tasks
    # of each element: the task that reached it, from 1; 0: none
    owners: dict[str, Tensor] = field(default_factory=dict[str, Tensor])
    searched: set[str] = field(default_factory=set[str])
    searches: int = 0  # observations at which the search could continue


@dataclass
class RecorderState:
    """The state of a recorder between two observations."""

    random_state: Tensor  # of the generator that draws directions of sketches
    tasks: tuple[str, ...] | None = None
    step: int = 0  # observations so far
    measurements: list[Trace] = field(default_factory=list[Trace])  # in the order of time
    timing: Timing = field(default_factory=Timing)
    sketch_method: SketchMethod = "double backward"  # first method that the run's graphs allow
    first_source: int = 0  # the next source, where measurements take turns
    begun: int = 0  # measurements begun since one was finished; above 0: wait for a micro-batch
    is_closure_exact: bool = False  # the closure returns bit for bit the losses given to `observe`
    needs_graph: bool = False  # evaluations need gradients, since they take some themselves
    has_factors: bool = True  # factored gradients were cheaper when last checked
    # tasks (or "") and codes of warnings
    warned: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    search: SearchState = field(default_factory=SearchState)
    named: tuple[str, ...] = ()  # the shared parameters, where the user named them
    round: TaskRound | None = None  # the measurement over observations that is not complete
    complete: int = 0  # how often all tasks were measured together
    # how often [source, target] was measured at other times
    pairs: dict[str, dict[str, int]] = field(default_factory=dict[str, dict[str, int]])
    absent: set[str] = field(default_factory=set[str])  # tasks that the last rounds did not meet

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
        """The next `count` sources in turn."""
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
        """Read what `pack` of the same version wrote."""
        if not isinstance(state.get("recorder"), str):
            raise InputError(
                f"Expected what recorder.state_dict() returned, but got {sorted(state)[:5]}.",
                "no-recorder-state",
            )
        tensors = {name: value.cpu() for name, value in state.items() if isinstance(value, Tensor)}
        content = json.loads(cast("str", state["recorder"]))
        if content["version"] != VERSION:
            raise InputError(
                f"Expected a recorder's state of version {VERSION}, but got version "
                f"{content['version']}: resume with the version of task-affinity that wrote it.",
                "other-version",
            )
        return unflatten(cls, content["state"], tensors)
