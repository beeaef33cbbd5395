"""The loss of the best constant prediction: the scale on which the losses of tasks are compared."""

import torch
from jaxtyping import Float
from torch import Tensor

from affinity.tasks import BinaryCrossEntropy, CrossEntropy, SquaredError, Task

_ROWS = 2048  # enough to find a constant


def constant_loss(
    task: Task, training: Float[Tensor, " row"], validation: Float[Tensor, " other"]
) -> float:
    """Loss on `validation` of the constant prediction that is best on `training`.

    For squared error this is the variance, for cross-entropy the entropy of the classes; for any
    other loss the constant is searched for. 1 if there is no scale: no labels, or labels that do
    not vary.

    Example:
        >>> from affinity.tasks import RSquared, SquaredError
        >>> labels = torch.tensor([0.0, 2.0])
        >>> round(constant_loss(Task("depth", SquaredError(), RSquared()), labels, labels), 4)
        1.0
    """
    training = training[~training.isnan()].double()
    validation = validation[~validation.isnan()].double()
    if len(training) == 0 or len(validation) == 0:
        return 1.0
    with torch.no_grad():
        zero = training.new_zeros(1, task.n_outputs)
        start = float(task.loss(zero.expand(len(training), -1), training))
    constant = _known(task, training)
    constant = _searched(task, training[:_ROWS]) if constant is None else constant
    with torch.no_grad():
        reached = float(task.loss(constant.expand(len(validation), -1), validation))
    is_scale = 1e-6 * max(abs(start), 1e-300) < reached < float("inf")
    return reached if is_scale else 1.0


def _known(task: Task, labels: Float[Tensor, " row"]) -> Float[Tensor, "1 output"] | None:
    """The closed form, if there is one; a class that is absent gets a probability close to 0."""
    if isinstance(task.loss, SquaredError):
        return labels.mean().reshape(1, 1)
    if isinstance(task.loss, BinaryCrossEntropy | CrossEntropy):
        n_classes = max(2, task.n_outputs)
        if not bool(((labels >= 0) & (labels < n_classes) & (labels == labels.round())).all()):
            return None
        counts = labels.long().bincount(minlength=n_classes).double()
        if task.loss.weights is not None:
            counts = counts * counts.new_tensor(task.loss.weights)
        counts = counts.clamp(min=1e-9)
        logits = counts.log()[None]
        return logits[:, 1:] - logits[:, :1] if task.n_outputs == 1 else logits
    return None


def _searched(task: Task, labels: Float[Tensor, " row"]) -> Float[Tensor, "1 output"]:
    constant = labels.new_zeros(1, task.n_outputs, requires_grad=True)
    search = torch.optim.LBFGS([constant], max_iter=30, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        search.zero_grad()
        value = task.loss(constant.expand(len(labels), -1), labels)
        value.backward()
        return value.detach()

    with torch.enable_grad():
        search.step(loss)
    return constant.detach()
