"""Relative gradient norms: how much each block of a network wants to move, beside its size."""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn


def relative_gradient_norms(
    model: nn.Module, losses: Iterable[Tensor], blocks: Mapping[str, Sequence[str]]
) -> dict[str, float]:
    r"""Mean over batches of each block's gradient norm, over the norm of its parameters.

    .. math::
        \mathrm{RGN}_k = \lVert \nabla_k L \rVert / \lVert \theta_k \rVert

    Args:
        model: The network.
        losses: Of some batches, still with their graphs; made one at a time where it is a
            generator. Lee et al. take five.
        blocks: The names of the parameters of each block, as `blocks_of` gives them.

    References:
        Lee et al. (2023), `Surgical Fine-Tuning Improves Adaptation to Distribution Shifts
        <https://arxiv.org/abs/2210.11466>`_, section 4.1.

    Example:
        >>> model = nn.Linear(1, 1)
        >>> _ = nn.init.constant_(model.weight, 2.0), nn.init.constant_(model.bias, 1.0)
        >>> loss = model(torch.tensor([[3.0]])).sum()
        >>> relative_gradient_norms(model, [loss], {"slope": ["weight"], "offset": ["bias"]})
        {'slope': 1.5, 'offset': 1.0}
    """
    parameters = dict(model.named_parameters())
    sums, n_batches = dict.fromkeys(blocks, 0.0), 0
    for loss in losses:
        n_batches += 1
        gradients = dict(
            zip(
                parameters,
                torch.autograd.grad(loss, list(parameters.values()), materialize_grads=True),
                strict=True,
            )
        )
        for block, names in blocks.items():
            size = _norm([parameters[name].detach() for name in names])
            if size > 0:
                sums[block] += _norm([gradients[name] for name in names]) / size
    return {block: total / max(1, n_batches) for block, total in sums.items()}


def rates_of(norms: Mapping[str, float], blocks: Sequence[str]) -> dict[str, float]:
    """The norms of these blocks over the largest of them; 1 where no block wants to move."""
    largest = max((norms[block] for block in blocks), default=0.0)
    return {block: norms[block] / largest if largest > 0 else 1.0 for block in blocks}


def _norm(tensors: Sequence[Tensor]) -> float:
    return float(torch.stack([tensor.double().square().sum() for tensor in tensors]).sum().sqrt())
