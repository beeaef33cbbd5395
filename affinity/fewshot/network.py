"""Few-shot network: a trunk and head as a function of its parameters, and one inner-loop step."""

from collections.abc import Callable

from torch import Tensor, nn
from torch.func import functional_call, grad

from affinity.errors import InputError

Parameters = dict[str, Tensor]
"""Parameters by name."""


class FewShotNetwork(nn.Module):
    """A trunk and a head; `run` computes predictions with other parameters.

    Args:
        trunk: Its output is the representation.
        head: Maps the representation to predictions.

    Raises:
        InputError: If the trunk has running statistics, which cannot be shared by tasks that are
            adapted to at once.

    Example:
        >>> import torch
        >>> network = FewShotNetwork(nn.Linear(3, 4), nn.Linear(4, 2))
        >>> sorted(network.tensors())
        ['head.bias', 'head.weight', 'trunk.bias', 'trunk.weight']
        >>> network.run(network.tensors(), torch.zeros(5, 3)).shape
        torch.Size([5, 2])
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

    Args:
        network: The network; its own parameters are not changed.
        parameters: θ, by name.
        inputs: Support rows of the task.
        targets: Their targets.
        loss: A function of predictions and targets.
        rate: α.
        is_adapted: Which parameters are adapted, by name; all by default.
        is_first_order: Whether the gradient is treated as a constant when φ is differentiated.

    Example:
        >>> import torch
        >>> network = FewShotNetwork(nn.Identity(), nn.Linear(1, 1, bias=False))
        >>> theta = {"head.weight": torch.tensor([[1.0]])}
        >>> squared = lambda prediction, target: (prediction.squeeze(-1) - target).square().mean()
        >>> phi = adapt(network, theta, torch.ones(2, 1), torch.zeros(2), squared, rate=0.25)
        >>> phi["head.weight"].item()  # 1 - 0.25 * 2 * 1
        0.5
    """
    adapted = {name: value for name, value in parameters.items() if is_adapted(name)}

    def support_loss(adapted: Parameters) -> Tensor:
        return loss(network.run({**parameters, **adapted}, inputs), targets)

    for name, gradient in grad(support_loss)(adapted).items():
        step = gradient.detach() if is_first_order else gradient
        adapted[name] = adapted[name].add(step, alpha=-rate)
    return {**parameters, **adapted}
