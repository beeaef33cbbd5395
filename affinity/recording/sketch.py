r"""Sketch: products of every task's gradient with a few random directions.

For a direction with independent signs, :math:`E[r r^T] = I`, so that products of products are
unbiased: with the sketch :math:`S_{tk} = \langle g_t, r_k \rangle`,
:math:`E[S S^T / K]` is the Gramian. The cost does not grow with the number of tasks.
"""

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import cast

import torch
import torch.autograd.forward_ad as forward_ad
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from affinity.errors import InputError

from .batch import Batch
from .gradients import as_real
from .momentum import Momentum
from .recorder_state import RecorderState
from .shared_parameters import unwrapped
from .shared_part import SharedPart


@dataclass(frozen=True, eq=False)
class Sketch:
    """Products of the tasks' gradients with random directions."""

    products: Float[Tensor, "task direction"]  # missing (NaN) for absent tasks
    random_state: Tensor  # before it drew the directions
    # exact products with the momentum, where it was given
    momentum_products: Float[Tensor, " task"] | None

    def gramian(self, targets: Float[Tensor, "task direction"]) -> Float[Tensor, "source target"]:
        """The unbiased estimate of inner products, from the products of the targets' gradients."""
        products, targets = self.products.cpu().double(), targets.cpu().double()
        return products @ targets.T / products.shape[1]


def sketch_gradients(
    part: SharedPart,
    state: RecorderState,
    batch: Batch,
    n_directions: int,
    momentum: Momentum | None,
) -> Sketch | None:
    """A sketch of the batch's gradients; None where its graph allows none."""
    before = state.random_state
    further = [] if momentum is None else [momentum.dense(part.tensors)]
    while state.sketch_method != "none":
        try:
            products, state.random_state = _products(
                part, state, before, batch, n_directions, further
            )
            along = None if momentum is None else products[:, n_directions]
            return Sketch(products[:, :n_directions], before, along)
        except InputError:
            raise
        except RuntimeError:  # an operation that cannot be differentiated this way
            is_last = state.sketch_method == "forward mode" or not batch.can_evaluate
            state.sketch_method = "none" if is_last else "forward mode"
    return None


def held_out_products(
    part: SharedPart, state: RecorderState, batch: Batch, sketch: Sketch
) -> Float[Tensor, "task direction"]:
    """Products of another batch's gradients with the directions of `sketch`."""
    n_directions = sketch.products.shape[1]
    return _products(part, state, sketch.random_state, batch, n_directions, [])[0]


def _products(
    part: SharedPart,
    state: RecorderState,
    random_state: Tensor,
    batch: Batch,
    n_directions: int,
    more: Sequence[Sequence[Tensor]],
) -> tuple[Float[Tensor, "task direction"], Tensor]:
    """Products with random and further directions, and the generator's state afterwards."""
    generator = torch.Generator()
    generator.set_state(random_state)
    shared, ranks_with = part.tensors, torch.tensor(batch.ranks_with, device=part.device)
    random = (random_signs(shared, generator) for _ in range(n_directions))
    directions = chain(random, more)
    shape = len(part.tasks), n_directions + len(more)
    products = torch.zeros(shape, device=shared[0].device, dtype=part.dtype)
    rows = [part.tasks.index(task) for task in batch.names]
    if state.sketch_method == "double backward":
        losses = batch.losses()
        if losses:
            products[rows] = sketch_by_double_backward(losses, shared, directions, part.dtype)
    else:
        products[rows] = sketch_by_forward_mode(
            batch.evaluate_with_tangents, unwrapped(part.model), shared, directions
        ).to(part.dtype)
    if part.ranks.count == 1:  # a loss of 0 with a gradient of 0: no labels in this batch
        values = batch.values()
        for task, row in zip(batch.names, rows, strict=True):
            if not products[row].any() and values[row] == 0:
                batch.missing.add(task)
                ranks_with[row] = 0
    return part.ranks.total(products) / ranks_with[:, None], generator.get_state()


def sketch_by_double_backward(
    losses: Sequence[Float[Tensor, ""]],
    shared: Sequence[Tensor],
    directions: Iterable[Sequence[Tensor]],
    dtype: torch.dtype,
) -> Float[Tensor, "task direction"]:
    r"""Products with every task's gradient, on the losses' own graph.

    The gradient of :math:`\sum_t u_t L_t` is linear in :math:`u`, so that its product with a
    direction has the gradient :math:`\langle g_t, r \rangle` with respect to :math:`u_t`: one
    backward pass that is differentiated once per direction. On the CPU, this took a third to half
    of the time of forward mode on perceptrons and a transformer, and more time on convolutions.
    A RuntimeError if an operation has no second derivative (``torch.compile``, fused attention).
    """
    stacked = torch.stack([loss.to(dtype) for loss in losses])
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
    """The tasks' products must add up to that of their sum, or an operation hides a part."""
    expected = sum(
        (as_real(part.detach()) * as_real(signs)).sum().item()
        for part, signs in zip(total, along, strict=True)
    )
    size = sum(part.detach().abs().square().sum().item() for part in total) ** 0.5
    if abs(products.sum().item() - expected) > 0.01 * size + 1e-3 * products.abs().sum().item():
        raise RuntimeError("an operation of the losses' graph cannot be differentiated twice")


def sketch_by_forward_mode(
    evaluate: Callable[[], Float[Tensor, " task"]],
    model: nn.Module,
    shared: Sequence[Tensor],
    directions: Iterable[Sequence[Tensor]],
) -> Float[Tensor, "task direction"]:
    """Products with every task's gradient, by forward-mode derivatives of the losses.

    For graphs that cannot be differentiated twice. Fused attention has no forward-mode derivative
    either, so attention runs unfused here. A RuntimeError if an operation has none.
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
    """Independent random signs with the shapes, types and devices of `like`.

    Drawn on the CPU as bits, 64 at a time, so that every rank draws the same ones.
    """
    return [_signs(tensor, generator) for tensor in like]


def _signs(like: Tensor, generator: torch.Generator) -> Tensor:
    if like.is_complex():
        return torch.view_as_complex(_signs(as_real(like.detach()), generator))
    count = like.numel()
    words = torch.randint(
        -(2**63), 2**63 - 1, ((count + 63) // 64,), generator=generator, device="cpu"
    )
    octets = words.view(torch.uint8).to(like.device)
    bits = (octets[:, None] >> torch.arange(8, dtype=torch.uint8, device=like.device)) & 1
    return bits.flatten()[:count].to(like.dtype).mul_(2).sub_(1).view(like.shape)


class _Evaluation(nn.Module):
    """The losses as a module around the model, so that its parameters can be replaced."""

    def __init__(self, model: nn.Module, evaluate: Callable[[], Tensor]) -> None:
        super().__init__()
        self.model = model
        self.evaluate = evaluate

    def forward(self) -> Tensor:
        return self.evaluate()
