"""Output losses: the slope of a loss by a network's outputs, and roots of its curvature."""

from collections.abc import Callable
from typing import Literal

from jaxtyping import Float, Shaped
from torch import Tensor
from torch.nn import functional

from affinity.errors import InputError

OutputLoss = Literal["next token", "classes", "binary", "squared error"]
"""How outputs and labels make a loss: cross-entropy of the next token, or of classes, both without
labels of -100; binary cross-entropy of logits, or the squared error, both without labels of NaN."""

OUTPUT_LOSSES: tuple[OutputLoss, ...] = ("next token", "classes", "binary", "squared error")
IGNORED = -100  # the label that cross-entropies leave out, as in PyTorch and Transformers


def labelled_outputs(
    kind: OutputLoss, outputs: Float[Tensor, "*outputs"], labels: Shaped[Tensor, "*labels"]
) -> tuple[Float[Tensor, "label output"], Shaped[Tensor, " label"]]:
    """The outputs of everything with a label, and the labels; padding (-100) has none."""
    if kind == "next token":
        outputs, labels = outputs[:, :-1], labels[:, 1:]
    if kind in ("next token", "classes"):
        fits, values = outputs.shape[:-1] == labels.shape, outputs.flatten(0, -2)
        known = labels.flatten() != IGNORED if not labels.is_floating_point() else None
        n_classes = outputs.shape[-1]
        if fits and known is not None:
            inside = labels.flatten()[known]
            fits = not len(inside) or (inside.min() >= 0 and inside.max() < n_classes).item()
        expected = f"a class from 0 to {n_classes - 1}, or {IGNORED}, for each row of logits"
        if not fits or known is None:
            raise _misfit(kind, expected, outputs, labels)
        return values[known], labels.flatten()[known]
    if outputs.numel() != labels.numel():
        raise _misfit(kind, "as many labels as outputs", outputs, labels)
    targets = labels.flatten().to(outputs.dtype)
    known = ~targets.isnan()
    return outputs.flatten()[known][:, None], targets[known]


def sum_of_losses(
    kind: OutputLoss, outputs: Float[Tensor, "label output"], labels: Shaped[Tensor, " label"]
) -> Float[Tensor, ""]:
    """The sum over labels."""
    if kind in ("next token", "classes"):
        return functional.cross_entropy(outputs, labels, reduction="sum")
    if kind == "binary":
        loss = functional.binary_cross_entropy_with_logits
        return loss(outputs[:, 0], labels, reduction="sum")
    return (outputs[:, 0] - labels).square().sum()


def curvature_root(
    kind: OutputLoss, outputs: Float[Tensor, "label output"]
) -> Callable[[Tensor], Tensor]:
    r"""Multiplication with S, where :math:`S S^T` is the loss's second derivative by the outputs.

    Of a softmax p, :math:`S r = \sqrt{p} \circ r - p \, (\sqrt{p} \cdot r)`.
    """
    if kind in ("next token", "classes"):
        p = outputs.detach().softmax(dim=-1)
        return lambda r: p.sqrt() * r - p * (p.sqrt() * r).sum(dim=-1, keepdim=True)
    if kind == "binary":
        p = outputs.detach().sigmoid()
        return lambda r: (p * (1 - p)).sqrt() * r
    return lambda r: 2**0.5 * r


def _misfit(kind: OutputLoss, expected: str, outputs: Tensor, labels: Tensor) -> InputError:
    return InputError(
        f"Expected {expected} with loss={kind!r}, but got outputs of the shape "
        f"{tuple(outputs.shape)} and labels of the shape {tuple(labels.shape)} and type "
        f"{labels.dtype}.",
        "labels-do-not-fit",
    )
