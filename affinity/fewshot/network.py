"""A trunk under a head, as tensors by name: what an inner loop moves."""

from torch import Tensor, nn
from torch.func import functional_call

from affinity.errors import InputError

Tensors = dict[str, Tensor]


class Network(nn.Module):
    """A user's trunk under a head; `run` computes it with other parameters.

    Args:
        trunk: Its output is the representation.
        head: On top of it.

    Raises:
        InputError: If the trunk keeps running statistics, which tasks that are adapted at once
            cannot share.

    Example:
        >>> import torch
        >>> network = Network(nn.Linear(3, 4), nn.Linear(4, 2))
        >>> sorted(network.tensors())
        ['head.bias', 'head.weight', 'trunk.bias', 'trunk.weight']
        >>> network.run(network.tensors(), torch.zeros(5, 3)).shape
        torch.Size([5, 2])
    """

    def __init__(self, trunk: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = head
        kept = [
            name
            for name, module in self.named_modules()
            if isinstance(module, nn.modules.batchnorm._BatchNorm)  # pyright: ignore[reportPrivateUsage]
            and module.track_running_stats
        ]
        if kept:
            raise InputError(
                f"Expected modules without running statistics, which tasks that are adapted at "
                f"once cannot share, but {kept} keep some. Make them with "
                "track_running_stats=False, or use GroupNorm or LayerNorm."
            )

    def forward(self, inputs: Tensor) -> Tensor:
        """Predictions of a batch of rows."""
        return self.head(self.trunk(inputs))

    def tensors(self) -> Tensors:
        """Copies of the parameters by name."""
        return {name: value.detach().clone() for name, value in self.named_parameters()}

    def run(self, parameters: Tensors, inputs: Tensor) -> Tensor:
        """Predictions with these parameters."""
        return functional_call(self, parameters, (inputs,))

    def represent(self, parameters: Tensors, inputs: Tensor) -> Tensor:
        """The trunk's output with these parameters."""
        own = {
            name.removeprefix("trunk."): value
            for name, value in parameters.items()
            if name.startswith("trunk.")
        }
        return functional_call(self.trunk, own, (inputs,))


def is_of_head(name: str) -> bool:
    """Whether a parameter is one of the head's."""
    return name.startswith("head.")


def everything(name: str) -> bool:  # noqa: ARG001
    """Every parameter."""
    return True
