"""Graphs of ``torch.compile``: whether they can be used more than once."""

from collections.abc import Sequence

from torch import Tensor

from affinity.errors import InputError

from .gradients import KEEP_COMPILED_GRAPHS, task_gradient
from .graph import nodes


def refuse_graphs_that_overwrite_themselves(
    losses: Sequence[Tensor], shared: Sequence[Tensor]
) -> None:
    """Take a gradient of a compiled graph twice, and compare.

    With donated buffers off, PyTorch may still take code from its cache that was compiled with
    them on (its key does not hold them): that writes into what the graph keeps, and tells nobody.

    Raises:
        InputError: If the second gradient is another one. By then the run's own backward pass would
            go wrong, too.
    """
    if not any(node.name().startswith("CompiledFunction") for node in nodes(losses)):
        return
    for loss in losses:
        first, second = (task_gradient(loss, shared) for _ in range(2))
        for one, other in zip(first, second, strict=True):
            if one is None or other is None:
                continue
            if (one - other).norm() > 1e-3 * one.norm():
                raise InputError(
                    "Expected a graph that can be used more than once, but torch.compile took one "
                    "from its cache that overwrites what it keeps: its gradient changes from one "
                    f"pass to the next. {KEEP_COMPILED_GRAPHS}"
                )
