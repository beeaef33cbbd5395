"""Factored gradients: inner products of linear layers' gradients without forming the gradients."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.graph import GradientEdge, Node

from .gradients import Gradient, Gradients, are_in_range, inner_products
from .graph import graph_nodes, leaf_of
from .precision import recorded_type


@dataclass(frozen=True, eq=False)
class LinearLayer:
    r"""A linear layer in the losses' graph.

    A task's gradient at its weight is :math:`\delta_t^T X`, with the layer's inputs :math:`X` and
    the gradient :math:`\delta_t` at its output, so that

    .. math::
        \langle \delta_i^T X, \delta_j^T X \rangle
        = \langle X X^T \delta_i, \delta_j \rangle

    where :math:`X X^T` has one row and one column per row of the batch.

    References:
        Goodfellow (2015), `Efficient Per-Example Gradient Computations
        <https://arxiv.org/abs/1510.01799>`_, which computes norms this way.
    """

    output: GradientEdge  # an edge that torch.autograd.grad accepts
    inputs: Float[Tensor, "row input"]

    def inner_products(self, deltas: Gradient, dtype: torch.dtype) -> Float[Tensor, "task task"]:
        """Inner products of the weight's gradients, from each task's gradient at the output."""
        zeros = torch.zeros_like(next(delta for delta in deltas if delta is not None))
        stacked = torch.stack([zeros if delta is None else delta for delta in deltas]).to(dtype)
        inputs = self.inputs.to(dtype)
        spread = (inputs @ inputs.T) @ stacked  # task row output
        return spread.flatten(1) @ stacked.flatten(1).T

    def gradient(self, delta: Float[Tensor, "row output"]) -> Float[Tensor, "output input"]:
        """The weight's gradient."""
        return delta.T @ self.inputs.to(delta.dtype)

    def products_with(
        self, deltas: Gradient, matrix: Float[Tensor, "output input"]
    ) -> Float[Tensor, " task"]:
        """Inner products of the weight's gradients with a matrix of the weight's shape."""
        dtype = recorded_type([matrix])
        along = self.inputs.to(dtype) @ matrix.to(dtype).T  # row output
        zero = along.new_zeros(())
        return torch.stack([zero if delta is None else (delta * along).sum() for delta in deltas])


@dataclass(frozen=True, eq=False)
class WholeGradient:
    """One gradient, given in factors, of which each part is formed when it is reached."""

    parts: Gradient
    linear: Mapping[int, LinearLayer]

    def __iter__(self) -> Iterator[Tensor | None]:
        for place, part in enumerate(self.parts):
            layer = self.linear.get(place)
            yield part if layer is None or part is None else layer.gradient(part)


@dataclass(frozen=True, eq=False)
class FactoredGradients:
    """Gradients of several tasks; for `linear` layers, those at the layer's output."""

    gradients: Gradients
    linear: Mapping[int, LinearLayer]

    def inner_products(
        self, layers: Sequence[Sequence[int]], dtype: torch.dtype
    ) -> Float[Tensor, "layer source target"]:
        """Inner products of all pairs of tasks, per layer, as `gradients.inner_products`."""
        whole = [[place for place in places if place not in self.linear] for places in layers]
        products = inner_products(self.gradients, self.gradients, whole, dtype)
        for number, places in enumerate(layers):
            for place in places:
                deltas = self._parts(place)
                if place in self.linear and any(delta is not None for delta in deltas):
                    products[number] += self._products_of_layer(place, deltas, dtype)
        return products

    def _products_of_layer(
        self, place: int, deltas: Gradient, dtype: torch.dtype
    ) -> Float[Tensor, "task task"]:
        products = self.linear[place].inner_products(deltas, dtype)
        if are_in_range(products):
            return products
        return self.linear[place].inner_products(deltas, torch.float64)

    def whole(self) -> dict[str, WholeGradient]:
        """Each task's gradient, of which no more than one part is in memory at a time."""
        return {t: WholeGradient(g, self.linear) for t, g in self.gradients.by_task.items()}

    def products_with(self, other: Gradient) -> Float[Tensor, " task"]:
        """Inner products of each gradient with one more, which is not factored."""
        whole = [place for place in range(len(other)) if place not in self.linear]
        one, dtype = Gradients({"one": other}), recorded_type(p for p in other if p is not None)
        products = inner_products(self.gradients, one, [whole], dtype)[0, :, 0]
        for place, layer in self.linear.items():
            if (matrix := other[place]) is not None:
                products += layer.products_with(self._parts(place), matrix)
        return products

    def _parts(self, place: int) -> Gradient:
        return [gradient[place] for gradient in self.gradients.by_task.values()]


def linear_layers(
    losses: Sequence[Float[Tensor, ""]],
    shared: Sequence[Tensor],
    n_tasks: int,
    *,
    needs_gradients: bool = False,
) -> dict[int, LinearLayer]:
    """The linear layers whose factors are cheaper than gradients, by the place of their weight.

    Weights that are used twice are left out.
    """
    places = {id(parameter): place for place, parameter in enumerate(shared)}
    uses: Counter[Node] = Counter()
    linear: dict[int, Any] = {}
    for node in graph_nodes(losses):
        uses.update(parent for parent, _ in node.next_functions if parent is not None)
        if node.name() == "AddmmBackward0" and (weight := id(_weight(node))) in places:
            linear[places[weight]] = node
    return {
        place: LinearLayer(GradientEdge(node, 0), node._saved_mat1.detach())
        for place, node in linear.items()
        if _is_only_use(node, uses) and _is_cheaper(node, n_tasks, needs_gradients)
    }


def _weight(node: Node) -> Tensor | None:
    """The parameter whose transpose is the second factor of a matrix product, if there is one."""
    transposed = node.next_functions[2][0]
    if transposed is None or transposed.name() != "TBackward0":
        return None
    return leaf_of(transposed.next_functions[0][0])


def _is_only_use(node: Node, uses: Counter[Node]) -> bool:
    """Whether the weight's gradient is that of this product alone, unchanged by hooks."""
    transposed = node.next_functions[2][0]
    assert transposed is not None
    leaf = transposed.next_functions[0][0]
    assert leaf is not None
    return uses[transposed] == uses[leaf] == 1 and not getattr(
        leaf_of(leaf), "_backward_hooks", None
    )


def _is_cheaper(node: Any, n_tasks: int, needs_gradients: bool) -> bool:
    """Compare the number of multiplications with factors and with full gradients."""
    if node._saved_alpha != 1 or node._raw_saved_mat1.unpack_hook is not None:
        return False  # the inputs of a checkpoint would have to be computed again
    weight = _weight(node)
    assert weight is not None
    if weight.is_complex():
        return False
    outputs, inputs = weight.shape
    try:
        rows = len(node._saved_mat1)
    except RuntimeError:  # a backward pass has freed it; `task_gradient` raises the error
        return False
    by_factors = rows * rows * (inputs + n_tasks * outputs) + n_tasks**2 * rows * outputs
    saved_rows = 0 if needs_gradients else rows  # of the products that form gradients
    return by_factors < n_tasks * (saved_rows + n_tasks) * inputs * outputs
