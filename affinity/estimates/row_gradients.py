"""Row gradients: gradients of a network's outputs per row, projected to a few dimensions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap

from affinity.tasks import Examples

NUMBERS_AT_ONCE = 1 << 24


class Projection:
    r"""Random signs :math:`\pm 1 / \sqrt{d}`, which preserve inner products in expectation.

    Args:
        parameters: The parameters by name; only their shapes matter.
        dimensions: d; None for the identity.
        seed: Random seed of the signs.

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


@dataclass(frozen=True, eq=False)
class RowGradients:
    """The outputs of a task's head for every labelled row, and their gradients.

    Args:
        outputs: The outputs at the network's parameters.
        features: The projected gradient of each output.
        targets: The labels.
        places: The index of each labelled row among all rows.
        weights: The weight of each row; None: all the same.
    """

    outputs: Float[Tensor, "row output"]
    features: Float[Tensor, "row output dimension"]
    targets: Float[Tensor, " row"]
    places: Int[Tensor, " row"]
    weights: Float[Tensor, " row"] | None = None


def row_gradients(
    network: nn.Module,
    parameters: Mapping[str, Tensor],
    names: Sequence[str],
    examples: Examples,
    projection: Projection,
) -> list[RowGradients]:
    """One `RowGradients` per task, in double precision.

    Args:
        network: Gives a prediction ``[row output]`` for each task by name.
        parameters: The parameters, by name, whose gradients are taken.
        names: Names of the tasks, in the order of the targets' columns.
        examples: The rows.
        projection: Applied to the gradients.
    """
    first = network(examples.inputs[:1])
    sizes = [first[name].shape[1] for name in names]

    def outputs_of(values: dict[str, Tensor], row: Tensor) -> tuple[Tensor, Tensor]:
        predictions = functional_call(network, values, (row[None],))
        outputs = torch.cat([predictions[name][0] for name in names])
        return outputs, outputs

    gradients_of = vmap(jacrev(outputs_of, has_aux=True), in_dims=(None, 0))
    n_numbers = sum(value.numel() for value in parameters.values()) * sum(sizes)
    outputs: list[Tensor] = []
    features: list[Tensor] = []
    for rows in examples.inputs.split(max(1, NUMBERS_AT_ONCE // n_numbers)):
        gradients, values = gradients_of(dict(parameters), rows)
        outputs.append(values.detach().double())
        features.append(projection.down(gradients).detach().double())
    all_outputs, all_features = torch.cat(outputs), torch.cat(features)
    by_task: list[RowGradients] = []
    for column, (start, size) in enumerate(
        zip(torch.tensor([0, *sizes]).cumsum(0).tolist(), sizes, strict=False)
    ):
        target = examples.targets[:, column]
        labelled = ~target.isnan()
        place = slice(start, start + size)
        by_task.append(
            RowGradients(
                all_outputs[labelled, place],
                all_features[labelled, place],
                target[labelled].double(),
                labelled.nonzero().squeeze(1),
                None if examples.weights is None else examples.weights[labelled].double(),
            )
        )
    return by_task
