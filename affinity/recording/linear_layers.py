"""Linear layers of few rows: inner products of their weights' gradients, without the gradients."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.graph import GradientEdge, Node

from .gradients import Gradients, inner_products
from .graph import nodes


@dataclass(frozen=True, eq=False)
class LinearLayer:
    r"""A linear layer in the losses' graph.

    A task's gradient at its weight is :math:`\delta_t^T X`, with the layer's inputs :math:`X` and
    the gradient :math:`\delta_t` at its output, so that

    .. math::
        \langle \delta_i^T X, \delta_j^T X \rangle
        = \langle X X^T \delta_i, \delta_j \rangle

    whose :math:`X X^T` has a row and a column for each row of the batch.

    Args:
        output: Its output, as an edge that ``torch.autograd.grad`` accepts.
        inputs: Its inputs.

    References:
        Goodfellow (2015), `Efficient Per-Example Gradient Computations
        <https://arxiv.org/abs/1510.01799>`_, which finds norms this way.

    Example:
        >>> layer, inputs = torch.nn.Linear(3, 1), torch.tensor([[2.0, 0.0, 0.0]])
        >>> found = linear_layers([layer(inputs).sum()], [layer.weight], n_tasks=1)
        >>> found[0].inner_products([torch.tensor([[1.0]]), torch.tensor([[-3.0]])])
        tensor([[  4., -12.],
                [-12.,  36.]])
    """

    output: GradientEdge
    inputs: Float[Tensor, "row input"]

    def numbers(self, weight: Float[Tensor, "output input"]) -> int:
        """How many a task has at the layer's output."""
        return len(self.inputs) * len(weight)

    def inner_products(self, at_output: Sequence[Tensor | None]) -> Float[Tensor, "task task"]:
        """Of the weight's gradients, from those at the output."""
        some = next(each for each in at_output if each is not None)
        zeros = torch.zeros_like(some)
        deltas = torch.stack([zeros if each is None else each for each in at_output]).float()
        inputs = self.inputs.float()
        spread = (inputs @ inputs.T) @ deltas  # task row output
        return spread.flatten(1) @ deltas.flatten(1).T

    def products_with(
        self, at_output: Sequence[Tensor | None], matrix: Float[Tensor, "output input"]
    ) -> Float[Tensor, " task"]:
        """Of the weight's gradients with a matrix of its shape."""
        along = self.inputs.float() @ matrix.float().T  # row output
        zero = along.new_zeros(())
        return torch.stack([zero if each is None else (each * along).sum() for each in at_output])


@dataclass(frozen=True, eq=False)
class FactoredGradients:
    """Gradients of several tasks, those of some weights in factors.

    Args:
        gradients: At the places of `linear`, they are those at the layer's output.
        linear: Linear layers, by the place of their weight.
    """

    gradients: Gradients
    linear: Mapping[int, LinearLayer]

    def inner_products(
        self, layers: Sequence[Sequence[int]]
    ) -> Float[Tensor, "layer source target"]:
        """Of all pairs, a layer at a time, as `gradients.inner_products`."""
        whole = [[place for place in places if place not in self.linear] for places in layers]
        products = inner_products(self.gradients, self.gradients, whole)
        for number, places in enumerate(layers):
            for place in places:
                if place in self.linear and any(part is not None for part in self._at(place)):
                    products[number] += self.linear[place].inner_products(self._at(place))
        return products

    def products_with(self, other: Sequence[Tensor]) -> Float[Tensor, " task"]:
        """Of each with one more gradient, which is whole."""
        whole = [place for place in range(len(other)) if place not in self.linear]
        one = Gradients({"one": list[Tensor | None](other)})
        products = inner_products(self.gradients, one, [whole])[0, :, 0]
        for place, layer in self.linear.items():
            products += layer.products_with(self._at(place), other[place])
        return products

    def _at(self, place: int) -> list[Tensor | None]:
        return [gradient[place] for gradient in self.gradients.of_tasks.values()]


def linear_layers(
    losses: Sequence[Float[Tensor, ""]], shared: Sequence[Tensor], n_tasks: int
) -> dict[int, LinearLayer]:
    """Where factors are cheaper: linear layers in the losses' graph, by the place of their weight.

    Args:
        losses: With their graph.
        shared: The shared parameters; a weight among them that is used twice is left out.
        n_tasks: Of how many tasks inner products are asked for.
    """
    places = {id(parameter): place for place, parameter in enumerate(shared)}
    uses: Counter[Node] = Counter()
    found: dict[int, Any] = {}
    for node in nodes(losses):
        uses.update(parent for parent, _ in node.next_functions if parent is not None)
        if node.name() == "AddmmBackward0" and id(_weight(node)) in places:
            found[places[id(_weight(node))]] = node
    return {
        place: LinearLayer(GradientEdge(node, 0), node._saved_mat1)
        for place, node in found.items()
        if _is_only_use(node, uses) and _is_cheaper(node, n_tasks)
    }


def _weight(node: Node) -> Tensor | None:
    """What a product's second matrix is the transpose of, where that is a parameter."""
    transposed = node.next_functions[2][0]
    if transposed is None or transposed.name() != "TBackward0":
        return None
    return getattr(transposed.next_functions[0][0], "variable", None)


def _is_only_use(node: Node, uses: Counter[Node]) -> bool:
    """Whether the weight's gradient is this product's, as it is."""
    transposed = node.next_functions[2][0]
    assert transposed is not None
    leaf = transposed.next_functions[0][0]
    assert leaf is not None
    weight = _weight(node)
    return uses[transposed] == uses[leaf] == 1 and not getattr(weight, "_backward_hooks", None)


def _is_cheaper(node: Any, n_tasks: int) -> bool:
    """Compare the multiplications that factors need with those of whole gradients."""
    if node._saved_alpha != 1 or node._raw_saved_mat1.unpack_hook is not None:
        return False  # a checkpoint's inputs would have to be made anew
    weight = _weight(node)
    assert weight is not None
    outputs, inputs = weight.shape
    try:
        rows = len(node._saved_mat1)
    except RuntimeError:  # a backward pass has freed it: the gradient's error says so
        return False
    by_factors = rows * rows * (inputs + n_tasks * outputs) + n_tasks**2 * rows * outputs
    return by_factors < n_tasks * (rows + n_tasks) * inputs * outputs
