"""The loss of the best constant prediction: the scale on which the losses of tasks are compared."""

import torch
from jaxtyping import Float
from torch import Tensor

from affinity.tasks import (
    BinaryCrossEntropy,
    CrossEntropy,
    Examples,
    SquaredError,
    Task,
    VectorError,
    loss_on_labelled,
)

_ROWS = 2048  # enough to find a constant


def constant_loss(task: Task, training: Examples, validation: Examples, column: int) -> float:
    """Loss on `validation` of the constant prediction that is best on `training`.

    For squared error this is the variance, for cross-entropy the entropy of the classes; for any
    other loss the constant is searched for. 1 if there is no scale: no labels, or labels that do
    not vary.
    """
    labels, weight = _labels(training, column)
    others, other_weight = _labels(validation, column)
    if len(labels) == 0 or len(others) == 0:
        return 1.0
    with torch.no_grad():
        zero = labels.new_zeros(1, task.n_outputs)
        start = float(loss_on_labelled(task.loss, zero.expand(len(labels), -1), labels, weight))
    constant = _known(task, labels, weight)
    if constant is None:
        first = None if weight is None else weight[:_ROWS]
        constant = _searched(task, labels[:_ROWS], first)
    with torch.no_grad():
        prediction = constant.expand(len(others), -1)
        reached = float(loss_on_labelled(task.loss, prediction, others, other_weight))
    is_scale = 1e-6 * max(abs(start), 1e-300) < reached < float("inf")
    return reached if is_scale else 1.0


def _labels(
    rows: Examples, column: int
) -> tuple[Float[Tensor, " label"], Float[Tensor, " label"] | None]:
    """The labels, and their weights."""
    target = rows.targets[:, column]
    labelled = ~target.isnan()
    weights = None if rows.weights is None else rows.weights[labelled].double()
    return target[labelled].double(), weights


def _known(
    task: Task, labels: Float[Tensor, " label"], weight: Float[Tensor, " label"] | None
) -> Float[Tensor, "1 output"] | None:
    """The closed form, if there is one; a class that is absent gets a probability close to 0."""
    if isinstance(task.loss, VectorError):
        share = torch.ones_like(labels) if weight is None else weight
        return (share[:, None] * task.loss.of(labels).to(labels)).sum(dim=0)[None] / share.sum()
    if isinstance(task.loss, SquaredError):
        mean = labels.mean() if weight is None else (weight * labels).sum() / weight.sum()
        return mean.reshape(1, 1)
    if isinstance(task.loss, BinaryCrossEntropy | CrossEntropy):
        n_classes = max(2, task.n_outputs)
        if not bool(((labels >= 0) & (labels < n_classes) & (labels == labels.round())).all()):
            return None
        counts = labels.long().bincount(weight, minlength=n_classes).double()
        if task.loss.weights is not None:
            counts = counts * counts.new_tensor(task.loss.weights)
        counts = counts.clamp(min=1e-9)
        logits = counts.log()[None]
        return logits[:, 1:] - logits[:, :1] if task.n_outputs == 1 else logits
    return None


def _searched(
    task: Task, labels: Float[Tensor, " label"], weight: Float[Tensor, " label"] | None
) -> Float[Tensor, "1 output"]:
    constant = labels.new_zeros(1, task.n_outputs, requires_grad=True)
    search = torch.optim.LBFGS([constant], max_iter=30, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        search.zero_grad()
        value = loss_on_labelled(task.loss, constant.expand(len(labels), -1), labels, weight)
        value.backward()
        return value.detach()

    with torch.enable_grad():
        search.step(loss)
    return constant.detach()
