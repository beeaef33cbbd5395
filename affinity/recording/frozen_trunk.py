"""Frozen trunk: gradients at the output of a shared module that is not trained."""

from torch import Tensor, nn
from torch.utils._pytree import tree_map

from .batch import Batch
from .gradients import Gradient, task_gradient


def frozen_trunk_gradients(trunk: nn.Module, batch: Batch) -> list[Gradient]:
    """The gradient of each loss at the trunk's output; empty where the batch has no closure.

    The graph of the losses does not reach the output of a frozen trunk. So the losses are
    evaluated again, with the output as a leaf of the graph.
    """
    if not batch.can_evaluate:
        return []
    outputs: list[Tensor] = []

    def as_leaf(value: object) -> object:
        if not isinstance(value, Tensor) or not value.is_floating_point():
            return value
        outputs.append(value.detach().requires_grad_())
        return outputs[-1]

    def hook(_module: nn.Module, _inputs: object, output: object) -> object:
        return tree_map(as_leaf, output)

    handle = trunk.register_forward_hook(hook)
    try:
        losses = batch.evaluate_with_graph()
    finally:
        handle.remove()
    if not outputs:
        return []
    gradients = [task_gradient([losses[task]], outputs) for task in batch.names]
    is_reached = any(part is not None for gradient in gradients for part in gradient)
    return gradients if is_reached else []
