"""The default trunk for a table: a multilayer perceptron."""

from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn


class Perceptron(nn.Sequential):
    """Layers of equal width, each followed by ReLU; the output is the representation.

    Args:
        n_features: Number of inputs per row.
        width: Number of outputs of every layer, and of the trunk.
        depth: Number of layers.

    Example:
        >>> import torch
        >>> Perceptron(3, width=8, depth=2)(torch.zeros(5, 3)).shape
        torch.Size([5, 8])
    """

    def __init__(self, n_features: int, width: int = 64, depth: int = 2) -> None:
        sizes = [n_features, *[width] * depth]
        super().__init__(
            *(nn.Sequential(nn.Linear(n_in, n_out), nn.ReLU()) for n_in, n_out in pairwise(sizes))
        )

    def forward(self, input: Float[Tensor, "batch feature"]) -> Float[Tensor, "batch width"]:  # noqa: A002
        """Representation of a batch of rows."""
        return super().forward(input)
