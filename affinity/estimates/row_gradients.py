"""Gradients of a network's outputs, row by row, projected to a few dimensions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap

from affinity.tasks import Examples

from .projection import Projection

NUMBERS_AT_ONCE = 1 << 24


@dataclass(frozen=True, eq=False)
class RowGradients:
    """What a task's head puts out for every labelled row, and how that changes.

    Args:
        outputs: ``[row output]`` at the network's parameters.
        features: ``[row output dimension]``, the projected gradient of each output.
        targets: ``[row]``.
        places: Where each labelled row stands among all.
    """

    outputs: Float[Tensor, "row output"]
    features: Float[Tensor, "row output dimension"]
    targets: Float[Tensor, " row"]
    places: Int[Tensor, " row"]


def row_gradients(
    network: nn.Module,
    parameters: Mapping[str, Tensor],
    names: Sequence[str],
    examples: Examples,
    projection: Projection,
) -> list[RowGradients]:
    """A `RowGradients` a task, in double precision.

    Args:
        network: Gives a prediction ``[row output]`` a task, by name.
        parameters: By name, to take gradients of.
        names: Of the tasks, in the order of the targets' columns.
        examples: The rows.
        projection: Of the gradients.
    """
    some = network(examples.inputs[:1])
    sizes = [some[name].shape[1] for name in names]

    def outputs_of(values: dict[str, Tensor], row: Tensor) -> tuple[Tensor, Tensor]:
        predictions = functional_call(network, values, (row[None],))
        outputs = torch.cat([predictions[name][0] for name in names])
        return outputs, outputs

    each = vmap(jacrev(outputs_of, has_aux=True), in_dims=(None, 0))
    n_numbers = sum(value.numel() for value in parameters.values()) * sum(sizes)
    outputs: list[Tensor] = []
    features: list[Tensor] = []
    for rows in examples.inputs.split(max(1, NUMBERS_AT_ONCE // n_numbers)):
        gradients, values = each(dict(parameters), rows)
        outputs.append(values.detach().double())
        features.append(projection.down(gradients).detach().double())
    all_outputs, all_features = torch.cat(outputs), torch.cat(features)
    found: list[RowGradients] = []
    for column, (start, size) in enumerate(
        zip(torch.tensor([0, *sizes]).cumsum(0).tolist(), sizes, strict=False)
    ):
        target = examples.targets[:, column]
        labelled = ~target.isnan()
        place = slice(start, start + size)
        found.append(
            RowGradients(
                all_outputs[labelled, place],
                all_features[labelled, place],
                target[labelled].double(),
                labelled.nonzero().squeeze(1),
            )
        )
    return found
