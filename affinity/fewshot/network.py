"""Few-shot network: a trunk and head as a function of its parameters, and one inner-loop step."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad

from affinity.errors import InputError

Parameters = dict[str, Tensor]  # parameters by name


class FewShotNetwork(nn.Module):
    """A trunk and a head; `run` computes predictions with other parameters.

    Running statistics are refused: tasks that are adapted to at once cannot share them.
    """

    def __init__(self, trunk: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = head
        with_statistics = [
            name
            for name, module in self.named_modules()
            if isinstance(module, nn.modules.batchnorm._BatchNorm)  # pyright: ignore[reportPrivateUsage]
            and module.track_running_stats
        ]
        if with_statistics:
            raise InputError(
                "Expected modules without running statistics, which tasks that are adapted to at "
                f"once cannot share, but got {with_statistics}. Use track_running_stats=False, "
                "GroupNorm or LayerNorm.",
                "running-statistics",
            )

    def forward(self, inputs: Tensor) -> Tensor:
        """Predictions for a batch of rows."""
        return self.head(self.trunk(inputs))

    def tensors(self) -> Parameters:
        """Copies of the parameters by name."""
        return {name: value.detach().clone() for name, value in self.named_parameters()}

    def run(self, parameters: Parameters, inputs: Tensor) -> Tensor:
        """Predictions with these parameters."""
        return functional_call(self, parameters, (inputs,))

    def represent(self, parameters: Parameters, inputs: Tensor) -> Tensor:
        """The trunk's output with these parameters."""
        of_trunk = {
            name.removeprefix("trunk."): value
            for name, value in parameters.items()
            if name.startswith("trunk.")
        }
        return functional_call(self.trunk, of_trunk, (inputs,))


def device_of(parameters: Parameters) -> torch.device:
    """Where the parameters are; the CPU if there are none."""
    return next((value.device for value in parameters.values()), torch.device("cpu"))


def is_of_head(name: str) -> bool:
    """Whether a parameter belongs to the head."""
    return name.startswith("head.")


def is_any(name: str) -> bool:  # noqa: ARG001
    """True for every parameter."""
    return True


def adapt(
    network: FewShotNetwork,
    parameters: Parameters,
    inputs: Tensor,
    targets: Tensor,
    loss: Callable[[Tensor, Tensor], Tensor],
    rate: float,
    is_adapted: Callable[[str], bool] = is_any,
    is_first_order: bool = False,
) -> Parameters:
    r"""One gradient step on the support rows of one task.

    .. math::
        \phi = \theta - \alpha \nabla_\theta L(\theta, D^{\text{support}})

    A differentiable function of θ, which `torch.func.vmap` runs for many tasks at once.
        parameters: θ, by name.
    """
    adapted = {name: value for name, value in parameters.items() if is_adapted(name)}

    def support_loss(adapted: Parameters) -> Tensor:
        return loss(network.run({**parameters, **adapted}, inputs), targets)

    for name, gradient in grad(support_loss)(adapted).items():
        step = gradient.detach() if is_first_order else gradient
        adapted[name] = adapted[name].add(step, alpha=-rate)
    return {**parameters, **adapted}
