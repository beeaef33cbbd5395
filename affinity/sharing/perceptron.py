"""The default trunk for a table: a multilayer perceptron."""

from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn


class Perceptron(nn.Sequential):
    """Layers of equal width, each followed by ReLU; the output is the representation.

    With `residual`, the output of each layer but the first is added to its input.

    Args:
        n_features: Number of inputs per row.
        width: Number of outputs of every layer, and of the trunk.
        residual: Whether layers are added to their inputs.

    Example:
        >>> import torch
        >>> Perceptron(3, width=8, depth=2)(torch.zeros(5, 3)).shape
        torch.Size([5, 8])
    """

    def __init__(
        self, n_features: int, width: int = 64, depth: int = 2, residual: bool = False
    ) -> None:
        sizes = [n_features, *[width] * depth]
        kinds = [nn.Sequential, *[ResidualLayer if residual else nn.Sequential] * (depth - 1)]
        super().__init__(
            *(
                kind(nn.Linear(n_in, n_out), nn.ReLU())
                for kind, (n_in, n_out) in zip(kinds, pairwise(sizes), strict=True)
            )
        )

    def forward(self, input: Float[Tensor, "batch feature"]) -> Float[Tensor, "batch width"]:  # noqa: A002
        """Representation of a batch of rows."""
        return super().forward(input)


class ResidualLayer(nn.Sequential):
    """A layer whose output is added to its input."""

    def forward(self, input: Float[Tensor, "batch width"]) -> Float[Tensor, "batch width"]:  # noqa: A002
        """The input plus the layer's output."""
        return input + super().forward(input)
