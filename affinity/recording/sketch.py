r"""A sketch: products of every task's gradient with a few random directions.

For a direction with independent signs, :math:`E[r r^T] = I`, so that products of products are
unbiased: with the sketch :math:`S_{tk} = \langle g_t, r_k \rangle`,
:math:`E[S S^T / K]` is the Gramian. The cost does not grow with the number of tasks.
"""

import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import cast

import torch
import torch.autograd.forward_ad as forward_ad
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from .lookahead import Evaluate


def sketch_by_double_backward(
    losses: Sequence[Float[Tensor, ""]],
    shared: Sequence[Tensor],
    directions: Iterable[Sequence[Tensor]],
) -> Float[Tensor, "task direction"]:
    r"""Products with every task's gradient, on the losses' own graph.

    The gradient of :math:`\sum_t u_t L_t` is linear in :math:`u`, so that its product with a
    direction has the gradient :math:`\langle g_t, r \rangle` with respect to :math:`u_t`: one
    backward pass that is differentiated once a direction. On the CPU this took a third to a half of
    the time of forward mode on perceptrons and a transformer, and more on convolutions.

    Raises:
        RuntimeError: Where an operation cannot be differentiated twice (``torch.compile``, fused
            attention).

    Example:
        >>> trunk = torch.tensor([1.0, 2.0], requires_grad=True)
        >>> losses = [(3 * trunk).sum(), trunk.square().sum()]
        >>> sketch_by_double_backward(losses, [trunk], [[torch.tensor([1.0, -1.0])]])
        tensor([[ 0.],
                [-2.]])
    """
    stacked = torch.stack([loss.float() for loss in losses])
    with torch.enable_grad():
        weights = torch.ones_like(stacked).requires_grad_()
        parts = cast(
            "list[Tensor | None]",
            torch.autograd.grad(stacked, shared, weights, create_graph=True, allow_unused=True),
        )
    reached = [number for number, part in enumerate(parts) if part is not None]
    total = [cast("Tensor", parts[number]) for number in reached]
    columns: list[Tensor] = []
    for direction in directions:
        along = [direction[number] for number in reached]
        columns.append(torch.autograd.grad(total, weights, along, retain_graph=True)[0])
        _check_sum(total, along, columns[-1])
    return torch.stack(columns, dim=1).detach()


def _check_sum(total: Sequence[Tensor], along: Sequence[Tensor], products: Tensor) -> None:
    """Products of the tasks add up to that of their sum, unless an operation hides a part."""
    expected = sum(
        (part.detach() * each).sum().item() for part, each in zip(total, along, strict=True)
    )
    size = sum(part.detach().square().sum().item() for part in total) ** 0.5
    if abs(products.sum().item() - expected) > 0.01 * size + 1e-3 * products.abs().sum().item():
        raise RuntimeError("an operation of the losses' graph cannot be differentiated twice")


def sketch_by_forward_mode(
    evaluate: Evaluate,
    model: nn.Module,
    shared: Sequence[Tensor],
    directions: Iterable[Sequence[Tensor]],
) -> Float[Tensor, "task direction"]:
    """Products with every task's gradient, by forward-mode derivatives of the losses.

    For graphs that cannot be differentiated twice. Fused attention has no forward-mode derivative
    either, so attention runs unfused here.

    Raises:
        RuntimeError: Where an operation has no forward-mode derivative.

    Example:
        >>> layer = nn.Linear(2, 1, bias=False)
        >>> def evaluate():
        ...     return (3 * layer.weight).sum().reshape(1)
        >>> direction = [torch.tensor([[1.0, 1.0]])]
        >>> sketch_by_forward_mode(evaluate, layer, [layer.weight], [direction])
        tensor([[6.]])
    """
    evaluation = _Evaluation(model, evaluate)
    names = {id(parameter): name for name, parameter in evaluation.named_parameters()}
    columns: list[Tensor] = []
    for direction in directions:
        with torch.no_grad(), forward_ad.dual_level(), sdpa_kernel(SDPBackend.MATH):
            with warnings.catch_warnings():  # torch warns of its own use of TorchScript
                warnings.simplefilter("ignore", DeprecationWarning)
                duals = {
                    names[id(parameter)]: forward_ad.make_dual(parameter.detach(), part)
                    for parameter, part in zip(shared, direction, strict=True)
                }
            losses = torch.func.functional_call(evaluation, duals, ())
            tangent = forward_ad.unpack_dual(losses).tangent
            columns.append(torch.zeros_like(losses) if tangent is None else tangent.clone())
    return torch.stack(columns, dim=1)


def random_signs(like: Sequence[Tensor], generator: torch.Generator) -> list[Tensor]:
    """Independent signs, of the shapes, types and devices of `like`.

    Drawn on the CPU as bits, 64 at a time, so that every rank draws the same ones.

    Example:
        >>> (signs,) = random_signs([torch.zeros(1000)], torch.Generator().manual_seed(0))
        >>> signs.unique().tolist(), abs(signs.mean().item()) < 0.1
        ([-1.0, 1.0], True)
    """
    return [_signs(tensor, generator) for tensor in like]


def _signs(like: Tensor, generator: torch.Generator) -> Tensor:
    count = like.numel()
    words = torch.randint(-(2**63), 2**63 - 1, ((count + 63) // 64,), generator=generator)
    octets = words.view(torch.uint8).to(like.device)
    bits = (octets[:, None] >> torch.arange(8, dtype=torch.uint8, device=like.device)) & 1
    return bits.flatten()[:count].to(like.dtype).mul_(2).sub_(1).view(like.shape)


class _Evaluation(nn.Module):
    """The losses as a module around the model, so that its parameters can be stood in for."""

    def __init__(self, model: nn.Module, evaluate: Callable[[], Tensor]) -> None:
        super().__init__()
        self.model = model
        self.evaluate = evaluate

    def forward(self) -> Tensor:
        return self.evaluate()
