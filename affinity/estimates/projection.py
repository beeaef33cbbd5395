"""A projection of a network's parameters to a few dimensions, by random signs."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor


class Projection:
    r"""P with independent entries :math:`\pm 1 / \sqrt{d}`: inner products stay in expectation.

    Args:
        parameters: By name; only their shapes matter.
        dimensions: d; None for the identity.
        seed: Of the signs.

    Example:
        >>> weights = {"w": torch.zeros(3, 2)}
        >>> projection = Projection(weights, 4, seed=0)
        >>> projection.down({"w": torch.ones(5, 3, 2)}).shape  # of five gradients
        torch.Size([5, 4])
        >>> projection.up(torch.ones(4))["w"].shape
        torch.Size([3, 2])
    """

    def __init__(self, parameters: Mapping[str, Tensor], dimensions: int | None, seed: int) -> None:
        self._shapes = {name: value.shape for name, value in parameters.items()}
        self._signs: dict[str, Tensor] | None = None
        self.dimensions = sum(value.numel() for value in parameters.values())
        if dimensions is not None:
            generator = torch.Generator().manual_seed(seed)
            self._signs = {
                name: (
                    torch.randint(0, 2, (value.numel(), dimensions), generator=generator) * 2 - 1
                ).to(value)
                / dimensions**0.5
                for name, value in parameters.items()
            }
            self.dimensions = dimensions

    def down(self, gradients: Mapping[str, Tensor]) -> Float[Tensor, "*batch dimension"]:
        """Gradients ``[*batch *parameter]`` by name to features."""
        flat = {
            name: gradients[name].flatten(gradients[name].dim() - len(shape))
            if len(shape)
            else gradients[name][..., None]
            for name, shape in self._shapes.items()
        }
        if self._signs is None:
            return torch.cat(list(flat.values()), dim=-1)
        return torch.stack([flat[name] @ signs for name, signs in self._signs.items()]).sum(dim=0)

    def up(self, weights: Float[Tensor, " dimension"]) -> dict[str, Tensor]:
        """Weights of the features to a shift of the parameters."""
        if self._signs is None:
            sizes = [shape.numel() for shape in self._shapes.values()]
            parts = weights.split(sizes)
            return {
                name: part.reshape(shape)
                for (name, shape), part in zip(self._shapes.items(), parts, strict=True)
            }
        return {
            name: (signs @ weights.to(signs)).reshape(self._shapes[name])
            for name, signs in self._signs.items()
        }
