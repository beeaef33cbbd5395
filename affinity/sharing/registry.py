"""Registry of the ways to share, for plans, reports, the command line and tests."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from affinity.errors import InputError, check_known
from affinity.tasks import RSquared, SquaredError, Task

from .attention import Attention
from .branched import Branched
from .conditioning import TaskConditioning
from .cross_stitch import CrossStitch
from .hard import HardSharing
from .mmoe import MMoE
from .perceiver import Perceiver
from .perceptron import Perceptron
from .progressive_extraction import ProgressiveExtraction
from .relationship import RelationshipNetwork
from .separate import Separate
from .sharing import Head, Sharing, Trunk, stages_of
from .soft import SoftSharing

MakeSharing = Callable[[tuple[Task, ...], Trunk, Head, Tensor], Sharing]
"""Makes a network from tasks, a trunk, heads, and a few rows of inputs (for their sizes)."""

SharingSettings = Mapping[str, float | int | str]
"""Settings of a way to share, by name."""


@dataclass(frozen=True)
class SharingMethod:
    """A way to share with its usual settings; calling it makes a network.

    Args:
        label: Its name in reports.
        description: One line for lists and help.
        make: Makes the network with these settings.
        settings: Their values; None where it is chosen in training.
        allows_one_task: Whether a plan may name it for a network of one task.
        step_work: Work of a training step besides its arithmetic, compared with hard sharing; None
            for ways that `--sharing auto` does not compare.
    """

    label: str
    description: str
    make: Callable[[tuple[Task, ...], Trunk, Head, Tensor, Mapping[str, Any]], Sharing]
    settings: Mapping[str, float | int | str | None] = field(
        default_factory=dict[str, float | int | str | None]
    )
    allows_one_task: bool = False
    step_work: float | None = None

    def __call__(
        self, tasks: tuple[Task, ...], trunk: Trunk, head: Head, sample: Tensor
    ) -> Sharing:
        """A new network for these tasks; sizes are read from `sample`, a few rows of inputs."""
        given = {name: value for name, value in self.settings.items() if value is not None}
        return self.make(tasks, trunk, head, sample, given)

    def with_settings(self, settings: SharingSettings) -> "SharingMethod":
        """The same way with other settings.

        Raises:
            InputError: If it has no such setting, or a value is invalid.

        Example:
            >>> SHARINGS["mmoe"].with_settings({"n_experts": 8}).settings["n_experts"]
            8
        """
        check_known(f"settings of {self.label}", settings, self.settings, "unknown-setting")
        values = {  # a whole number may stand where any number may
            name: float(value)
            if isinstance(value, int) and not isinstance(self.settings[name], int)
            else value
            for name, value in settings.items()
        }
        method = replace(self, settings={**self.settings, **values})
        try:
            with torch.random.fork_rng():
                trunk = partial(Perceptron, 2, width=2, depth=16)
                method(_TRIAL_TASKS, trunk, lambda _: nn.Linear(2, 1), torch.zeros(2, 2))
        except TypeError as error:
            raise InputError(
                f"Expected valid settings of {self.label}, but got {dict(settings)}: {error}.",
                "invalid-setting",
            ) from error
        return method


_TRIAL_TASKS = tuple(Task(name, SquaredError(), RSquared()) for name in ("first", "second"))


def _width(trunk: Trunk, sample: Tensor, n_stages: int | None = None) -> int:
    """The size of the output of a trunk, or of its first stages."""
    with torch.random.fork_rng():  # keeps the initialization of the trunk that is trained
        module = trunk()
        if n_stages is not None:
            module = nn.Sequential(*stages_of(module, "shared layers")[:n_stages])
        return module(sample).flatten(1).shape[1]


def _mmoe(
    tasks: tuple[Task, ...], trunk: Trunk, head: Head, sample: Tensor, settings: Mapping[str, Any]
) -> MMoE:
    shared_layers = settings["shared_layers"]
    size = _width(trunk, sample, shared_layers) if shared_layers else sample[0].numel()
    return MMoE(tasks, trunk, head, size, **settings)


SHARINGS: dict[str, SharingMethod] = {
    "hard": SharingMethod(
        "hard sharing",
        "One trunk for all tasks.",
        lambda tasks, trunk, head, _, __: HardSharing(tasks, trunk, head),
        step_work=1.0,
    ),
    "soft": SharingMethod(
        "soft sharing",
        "One trunk per task, pulled together during training; `strength` says how strongly.",
        lambda tasks, trunk, head, _, settings: SoftSharing(tasks, trunk, head, **settings),
        {"strength": None},
        step_work=6.0,
    ),
    "mmoe": SharingMethod(
        "mixture of experts",
        "A mixture of experts with one gate per task.",
        _mmoe,
        {"n_experts": 4, "gate_dropout": 0.1, "shared_layers": 0},
        step_work=2.5,
    ),
    "ple": SharingMethod(
        "progressive extraction",
        "Shared experts and experts of each task, with gates at each stage of the trunk.",
        lambda tasks, trunk, head, sample, settings: ProgressiveExtraction(
            tasks, trunk, head, sample, **settings
        ),
        {"n_shared": 2, "n_own": 1},
    ),
    "cross-stitch": SharingMethod(
        "cross-stitch",
        "One trunk per task, whose stages exchange features.",
        lambda tasks, trunk, head, _, settings: CrossStitch(tasks, trunk, head, **settings),
        {"own": 0.9},
        step_work=1.75,
    ),
    "separate": SharingMethod(
        "on its own",
        "One trunk per task; nothing is shared.",
        lambda tasks, trunk, head, _, __: Separate(tasks, trunk, head),
        allows_one_task=True,
        step_work=1.5,
    ),
    "conditioning": SharingMethod(
        "task conditioning",
        "One trunk that gets the task: at its output (film, add, concat) or at its input.",
        lambda tasks, trunk, head, sample, settings: TaskConditioning(
            tasks, trunk, head, width=_width(trunk, sample), **settings
        ),
        {"conditioning": "film"},
    ),
    "branched": SharingMethod(
        "branched trunk",
        "One trunk whose first stages are shared; the other stages exist once per task.",
        lambda tasks, trunk, head, _, settings: Branched(tasks, trunk, head, **settings),
        {"after": 1},
    ),
    "attention": SharingMethod(
        "task attention",
        "One trunk, from whose stages each task selects features with its own masks.",
        lambda tasks, trunk, head, sample, _: Attention(tasks, trunk, head, sample),
    ),
    "relationship": SharingMethod(
        "relationship network",
        "One trunk; the heads have a prior that learns how the tasks covary.",
        lambda tasks, trunk, head, _, settings: RelationshipNetwork(tasks, trunk, head, **settings),
        {"strength": 0.1, "every": 10},
        step_work=4.0,
    ),
    "perceiver": SharingMethod(
        "Perceiver IO",
        "Latent vectors that attend to the inputs, and a query per task; there is no trunk.",
        lambda tasks, trunk, head, sample, settings: Perceiver(
            tasks, head, sample, width=_width(trunk, sample), **settings
        ),
        {"n_latents": 8, "depth": 1, "queries": "task"},
        step_work=13.0,
    ),
}
"""Every way to share of our networks; the only list of them."""


def _refuse(*_: object) -> Sharing:
    raise InputError("Expected trainings of your own to merge networks.", "unknown-sharing")


MERGED = {
    "averaged": SharingMethod("averaged", "The mean of networks of single tasks.", _refuse),
    "added": SharingMethod("added up", "The changes of networks of single tasks, summed.", _refuse),
}
"""Ways to make a network of several tasks without training it, for trainings of your own."""
