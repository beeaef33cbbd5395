"""Shared part: the tasks of a run and the part of the network at which gradients are taken."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge
from torch.utils._pytree import tree_map

from affinity.errors import InputError, warn

from .batch import Batch, is_without_labels
from .factored_gradients import FactoredGradients, linear_layers
from .gradients import Gradient, Gradients, as_real, inner_products, task_gradient
from .graph import overlapping_gradients, shared_graph
from .ranks import Ranks
from .settings import Settings
from .shards import is_counted_here, local_part
from .shared_parameters import Layers, unwrapped

LIBRARIES = {"torch", "affinity", "accelerate", "lightning", "transformers", "peft"}
"""Libraries whose hooks do not count calls."""


@dataclass(frozen=True, eq=False)
class SharedPart:
    """The tasks of a run, and where their gradients are taken."""

    tasks: tuple[str, ...]
    model: nn.Module
    parameters: Mapping[str, nn.Parameter]  # those that are trained
    layers: Layers  # places of these parameters, by layer
    settings: Settings
    ranks: Ranks
    rounding_error: float  # relative, of the losses
    is_half: bool  # whether backward passes go through numbers in float16
    dtype: torch.dtype  # in which losses are recorded
    # the shared module, if none of its parameters is trained
    frozen_module: nn.Module | None = None
    is_sharded: bool = False  # a process may hold a part of a parameter
    device: torch.device = field(init=False)  # the model's device
    wide: torch.dtype = field(init=False)  # the type of inner products, whose range is larger

    def __post_init__(self) -> None:
        device = next(self.model.parameters(), torch.zeros(())).device
        object.__setattr__(self, "device", device)
        wide = torch.float32 if device.type == "mps" else torch.float64
        object.__setattr__(self, "wide", wide)

    @property
    def tensors(self) -> list[Tensor]:
        """The shared parameters in order, or this process's parts of them."""
        parameters: Sequence[Tensor] = list(self.parameters.values())
        return [local_part(each) for each in parameters] if self.is_sharded else parameters

    def total(self, values: Tensor) -> Tensor:
        """The sum over processes, if each has a part of the parameters."""
        return self.ranks.total(values) if self.is_sharded else values

    def counted_layers(self) -> list[list[int]]:
        """The places of the parameters that this process counts, by layer."""
        if not self.is_sharded:
            return list(self.layers.values())
        is_counted = [is_counted_here(parameter) for parameter in self.parameters.values()]
        return [[i for i in layer if is_counted[i]] for layer in self.layers.values()]

    def products(
        self, sources: Gradients, targets: Gradients
    ) -> Float[Tensor, "layer source target"]:
        """The inner products of gradients, by layer."""
        if self.settings.level != "representation":
            layers = self.counted_layers()
            return self.total(inner_products(sources, targets, layers, self.dtype).to(self.wide))
        layers = [list(range(len(sources.sizes())))]
        products = inner_products(sources, targets, layers, self.dtype).to(self.wide)
        # each rank has the gradients at its part of the batch
        return self.ranks.total(products) / self.ranks.count**2

    def squared_norms(self, factors: Sequence[float]) -> Float[Tensor, " layer"]:
        """The squared norm of each layer's parameters, each multiplied by its factor."""
        squares = [
            (factor * torch.linalg.vector_norm(tensor.detach()).to(self.dtype)).square()
            for factor, tensor in zip(factors, self.tensors, strict=True)
        ]
        zero = torch.zeros((), device=self.device, dtype=self.dtype)
        return self.total(
            torch.stack([sum((squares[i] for i in layer), zero) for layer in self.counted_layers()])
        )

    def check_ranks(self) -> None:
        """Raise an error if processes hold different parameters, of which gradients have no mean.

        Raises:
            InputError: On all processes.
        """
        if self.ranks.count == 1 or self.is_sharded or not self.parameters:
            return
        parts = [as_real(tensor.detach()).to(self.wide) for tensor in self.tensors]
        size = torch.stack([part.abs().sum() for part in parts]).sum()
        sums = torch.stack([*(part.sum() for part in parts), size])
        differ = self.ranks.differ(sums)[:-1].tolist()
        if different := [name for name, each in zip(self.parameters, differ, strict=True) if each]:
            raise InputError(
                f"Expected the same model on each of the {self.ranks.count} processes, since "
                f"gradients are averaged over them, but {different[:3]} differ. Wrap the model in "
                "DistributedDataParallel; if each process trains a model of its own, record in "
                "processes without torch.distributed.",
                "different-models",
            )

    def parameter_error(self) -> float:
        """The rounding error of all parameters, as a norm."""
        errors = [torch.finfo(parameter.dtype).eps for parameter in self.parameters.values()]
        return self.squared_norms(errors).sum().sqrt().item()

    def gradients(self, batch: Batch, tasks: Sequence[str]) -> Gradients:
        """Gradients of those of `tasks` that are present and reach the shared part."""
        if self.settings.level == "representation":
            return self._representation_gradients(batch, tasks)
        gradients = {task: self.gradient(batch, task) for task in tasks}
        return Gradients({t: gradient for t, gradient in gradients.items() if gradient is not None})

    def gradient(self, batch: Batch, task: str) -> Gradient | None:
        """The gradient of one task at the shared parameters, averaged over ranks."""
        if not batch.ranks_with[self.tasks.index(task)]:
            return None
        if self.is_sharded:
            parameters = list(self.parameters.values())
            gradient = batch.sharded_gradient(task, parameters, self.ranks)
            return _unless_unreached(batch, task, gradient)
        gradient = self._local_gradient(batch, task, self.tensors)
        return self.ranks.mean_gradient(gradient, self.tensors)

    def factored_gradients(
        self, batch: Batch, memory: int, *, needs_gradients: bool
    ) -> FactoredGradients | None:
        """Gradients of all tasks in factors, where that is cheaper and there is one process.

        The factors may take `memory` bytes; `needs_gradients` asks for one gradient at a time, too.
        """
        is_alone = self.ranks.count == 1 and not self.is_sharded
        if self.settings.level == "representation" or not is_alone or batch.is_apart:
            return None
        losses = batch.losses()
        linear = linear_layers(losses, self.tensors, len(losses), needs_gradients=needs_gradients)
        if not linear:
            return None
        inputs: list[Tensor | GradientEdge] = []
        numbers = 0
        for place, parameter in enumerate(self.tensors):
            layer = linear.get(place)
            inputs.append(parameter if layer is None else layer.output)
            numbers += parameter.numel() if layer is None else len(layer.inputs) * len(parameter)
        if 4 * len(losses) * numbers > memory:
            return None
        gradients = {task: self._local_gradient(batch, task, inputs) for task in batch.names}
        present = {t: gradient for t, gradient in gradients.items() if gradient is not None}
        return FactoredGradients(Gradients(present), linear)

    def warn_of_hooks(self, *, evaluates: bool) -> None:
        """Warn of user hooks that the recorder runs additionally, since they may count calls.

        Forward hooks run additionally where it `evaluates` losses again.
        """
        modules = dict(unwrapped(self.model).named_modules())
        backward = [name for name, p in self.parameters.items() if _has(p, "_backward_hooks")]
        backward += _modules_with(modules, "_backward_hooks", "_backward_pre_hooks")
        what_to_do = (
            "If they count calls or store something, let them return immediately while "
            "recorder.is_observing is True."
        )
        if backward and self.settings.level != "representation":
            warn(
                f"Backward hooks of {backward} run once more for every task that is recorded. "
                f"{what_to_do} Hooks of register_post_accumulate_grad_hook run in the run's own "
                "backward pass alone.",
                "backward-hooks",
            )
        forward = _modules_with(modules, "_forward_hooks", "_forward_pre_hooks")
        if forward and evaluates:
            warn(
                f"Forward hooks of {forward} run once more whenever the closure evaluates the "
                f"losses. {what_to_do}",
                "forward-hooks",
            )

    def _local_gradient(
        self, batch: Batch, task: str, inputs: Sequence[Tensor | GradientEdge]
    ) -> Gradient | None:
        gradient = batch.gradient(task, inputs, is_half=self.is_half)
        return _unless_unreached(batch, task, gradient)

    def _representation_gradients(self, batch: Batch, tasks: Sequence[str]) -> Gradients:
        losses = {task: batch.loss(task) for task in batch.names}
        if len(losses) < 2:  # one loss does not show where the representation is
            return Gradients({})
        by_loss = overlapping_gradients(list(losses.values()), shared_graph(losses.values()))
        if not by_loss and self.frozen_module is not None:
            by_loss = _frozen_trunk_gradients(self.frozen_module, batch)
        if not by_loss:
            message = (
                "Expected a representation from which at least two losses are computed, but there "
                "is none: the losses of this step share nothing but parameters, or each is "
                'computed from rows of its own. Record with level="parameters"; if the trunk is '
                'frozen, name it, Recorder(model, shared="trunk", level="representation"), and '
                "pass a closure to observe."
            )
            if all(parameter.requires_grad for parameter in self.model.parameters()):
                raise InputError(message, "no-representation")
            batch.state.warn_once(message, "no-representation")  # the trunk may be trained later
            return Gradients({})
        gradients = dict(zip(losses, by_loss, strict=True))
        for task, gradient in gradients.items():
            if all(part is None for part in gradient):
                _warn_unreached(batch, task)
            elif is_without_labels(losses[task].item(), gradient):
                batch.missing.add(task)
        ranks_with = dict(zip(self.tasks, batch.ranks_with, strict=True))
        absent: Gradient = [None] * len(by_loss[0])
        by_task = {task: gradients.get(task, absent) for task in tasks if ranks_with[task]}
        if self.ranks.count == 1:
            by_task = {
                task: gradient
                for task, gradient in by_task.items()
                if any(part is not None for part in gradient)
            }
        return Gradients(by_task)


def _unless_unreached(batch: Batch, task: str, gradient: Gradient | None) -> Gradient | None:
    """The gradient, or None with a warning if the loss reaches none of the shared parameters."""
    if gradient is not None and all(part is None for part in gradient):
        _warn_unreached(batch, task)
        return None
    return gradient


def _warn_unreached(batch: Batch, task: str) -> None:
    batch.state.warn_once(
        f"The loss of the task {task!r} depends on none of the shared parameters and is "
        "recorded as missing. Is it computed from a detached representation, or is "
        "shared=... another part of the network?",
        "unreached-shared-part",
        task,
    )


def _modules_with(modules: Mapping[str, nn.Module], *kinds: str) -> list[str]:
    return [
        name or "the model"
        for name, module in modules.items()
        if any(_has(module, kind) for kind in kinds)
    ]


def _has(owner: nn.Module | nn.Parameter, kind: str) -> bool:
    """Whether it has a hook of this kind that the user registered."""
    hooks: Mapping[int, object] = getattr(owner, kind, None) or {}
    return any(_library(hook) not in LIBRARIES for hook in hooks.values())


def _library(hook: object) -> str:
    module = getattr(hook, "__module__", None) or type(hook).__module__
    return str(module).partition(".")[0]


def _frozen_trunk_gradients(trunk: nn.Module, batch: Batch) -> list[Gradient]:
    """The gradient of each loss at the trunk's output; empty where the batch has no closure.

    The graph of the losses does not reach the output of a frozen trunk. So the losses are
    evaluated again, with the output as a leaf of the graph.
    """
    if not batch.can_evaluate:
        return []
    outputs: list[Tensor] = []

    def as_leaf(value: object) -> object:
        if not isinstance(value, Tensor) or not value.is_floating_point():
            return value
        outputs.append(value.detach().requires_grad_())
        return outputs[-1]

    def hook(_module: nn.Module, _inputs: object, output: object) -> object:
        return tree_map(as_leaf, output)

    handle = trunk.register_forward_hook(hook)
    try:
        losses = batch.evaluate_with_graph()
    finally:
        handle.remove()
    if not outputs:
        return []
    gradients = [task_gradient([losses[task]], outputs) for task in batch.names]
    is_reached = any(part is not None for gradient in gradients for part in gradient)
    return gradients if is_reached else []
