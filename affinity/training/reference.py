"""The loss of the best constant prediction: the scale on which the losses of tasks are compared."""

import torch
from jaxtyping import Float
from torch import Tensor

from affinity.tasks import Task

_ROWS = 2048  # enough to find a constant


def constant_loss(
    task: Task, training: Float[Tensor, " row"], validation: Float[Tensor, " other"]
) -> float:
    """Loss on `validation` of the constant prediction that is best on `training`.

    For squared error this is the variance, for cross-entropy the entropy of the classes; for any
    other loss the constant is searched for. 1 where it is no scale: no labels, or labels that
    do not vary.

    Example:
        >>> from affinity.tasks import RSquared, SquaredError
        >>> labels = torch.tensor([0.0, 2.0])
        >>> round(constant_loss(Task("depth", SquaredError(), RSquared()), labels, labels), 4)
        1.0
    """
    training = training[~training.isnan()][:_ROWS].double()
    validation = validation[~validation.isnan()].double()
    if len(training) == 0 or len(validation) == 0:
        return 1.0
    constant = training.new_zeros(1, task.n_outputs, requires_grad=True)
    search = torch.optim.LBFGS([constant], max_iter=30, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        search.zero_grad()
        value = task.loss(constant.expand(len(training), -1), training)
        value.backward()
        return value.detach()

    with torch.enable_grad():
        start = float(loss())
        search.step(loss)
    with torch.no_grad():
        reached = float(task.loss(constant.expand(len(validation), -1), validation))
    is_scale = 1e-6 * max(abs(start), 1e-300) < reached < float("inf")
    return reached if is_scale else 1.0
