"""Gradient surrogate: groups predicted by one joint run, linearized (Grad-TAG)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, jacrev, vmap

from affinity.problems import Problem
from affinity.tasks import Examples, Task, loss_on_labelled
from affinity.training import initial, train

from .data_statistics import DataStatistics, evaluation_mode
from .linearize import Linearization, check_settings
from .sparse_projection import SparseProjection

_NUMBERS_AT_ONCE = 1 << 22


@dataclass(frozen=True)
class GradientSurrogate:
    r"""Predict the losses of any group of tasks from gradients of single rows at one network.

    A network is trained on all tasks, and what fine-tuning it on a group would reach is predicted
    by `Linearization`, from the mean gradient and curvature of each task. The cost is the joint
    run and one backward pass per row and output; per group, a system of d equations.

    Here, each task has the same steps in every group, the tasks share their rows, and curvatures
    are exact: of the outputs' Jacobian J, projected, and the loss's second derivative by the
    outputs (its convex part), :math:`J^T L'' J`. The paper fits a logistic regression on gradients
    alone, and then evaluates the network at the parameters found.

    Args:
        dimensions: d; None keeps all parameters.
        ridge: lambda; None: the one with the lowest losses of single tasks and of all together on
            the selection rows.
        rows: Maximum number of labelled training rows and of selection rows per task, drawn at
            random; None uses all.

    Raises:
        InputError: If a setting is out of range.

    References:
        Li et al. (2024), `Scalable Multitask Learning Using Gradient-based Estimation of Task
        Affinity <https://arxiv.org/abs/2409.06091>`_.
    """

    dimensions: int | None = 200
    ridge: float | None = None
    rows: int | None = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        check_settings(rows=self.rows, dimensions=self.dimensions)

    def __call__(self, problem: Problem, seed: int = 0) -> Linearization:
        """Train one network for all tasks on `problem.replicate(seed)`, and linearize it.

        Losses are predicted on the replicate's selection rows, which the network did not see.
        """
        replicate = problem.replicate(seed)
        network = initial(problem.network, problem.tasks, seed)
        train(network, problem.tasks, replicate, problem.settings)
        rows = replicate.evaluation
        evaluation = replicate.validation if rows is None or not len(rows) else rows
        return self.linearize(network, problem.tasks, replicate.training, evaluation)

    def linearize(
        self, network: nn.Module, tasks: Sequence[Task], training: Examples, evaluation: Examples
    ) -> Linearization:
        """Linearize a trained network around its parameters.

        Args:
            network: Gives a prediction ``[row output]`` for each task by name.
            tasks: The tasks, in the order of the targets' columns.
            training: Rows to fit on.
            evaluation: Rows to predict losses on.

        Raises:
            InputError: If a task has no labels, or a loss or gradient is not finite.
        """
        parameters = {n: p.detach() for n, p in network.named_parameters() if p.requires_grad}
        projection = SparseProjection(parameters, self.dimensions, self.seed)
        with evaluation_mode(network):
            statistics = [
                _statistics(network, parameters, tasks, self._sample(examples), projection)
                for examples in (training, evaluation)
            ]
        return Linearization(
            *statistics,
            ridge=1.0,
            parameters=tuple(parameters),
            n_parameters=projection.n_parameters,
            shared_rows={task.name: 0 for task in tasks},
            same_epochs=True,
        ).with_ridge(self.ridge)

    def _sample(self, examples: Examples) -> Examples:
        """Random rows with `self.rows` labels of each task, or all labels of a task with fewer."""
        if self.rows is None:
            return examples
        generator = torch.Generator().manual_seed(self.seed)
        order = torch.randperm(len(examples), generator=generator)
        labelled = examples.labelled[order]
        wanted = (labelled & (labelled.cumsum(dim=0) <= self.rows)).any(dim=1)
        return examples.take(order[wanted].sort().values)


def _statistics(
    network: nn.Module,
    parameters: Mapping[str, Tensor],
    tasks: Sequence[Task],
    examples: Examples,
    projection: SparseProjection,
) -> DataStatistics:
    """Mean gradients and curvatures of all tasks, from one Jacobian per row."""

    def outputs_of(values: dict[str, Tensor], row: Tensor) -> tuple[Tensor, Tensor]:
        predictions = functional_call(network, values, (row[None],))
        outputs = torch.cat([predictions[task.name][0] for task in tasks])
        return outputs, outputs

    jacobians_of = vmap(jacrev(outputs_of, has_aux=True), in_dims=(None, 0))
    with torch.no_grad():
        first = network(examples.inputs[:1])
    sizes = [first[task.name].shape[1] for task in tasks]
    shape = len(tasks), projection.dimensions
    labelled = examples.labelled
    shares = labelled.double()
    if examples.weights is not None:
        shares *= examples.weights[:, None]
    shares /= shares.sum(dim=0)
    gradients, curvatures = torch.zeros(shape).double(), torch.zeros(*shape, shape[1]).double()
    outputs: list[Tensor] = []
    for rows in torch.arange(len(examples)).split(
        max(1, _NUMBERS_AT_ONCE // (projection.n_parameters * sum(sizes)))
    ):
        jacobians, values = jacobians_of(dict(parameters), examples.inputs[rows])
        outputs.append(values.detach().double())
        features = projection(list(jacobians.values())).to(values.device)
        parts = zip(outputs[-1].split(sizes, 1), features.split(sizes, 1), strict=True)
        for column, (task, (predicted, jacobian)) in enumerate(zip(tasks, parts, strict=True)):
            known, share = labelled[rows, column], shares[rows, column]
            if not known.any():
                continue
            slopes, bends = _derivatives(
                task, predicted[known], examples.targets[rows, column][known].double()
            )
            jacobian, share = jacobian[known], share[known]
            bent = torch.einsum("r,rop,rpd->rod", share, bends, jacobian)
            gradients[column] += torch.einsum("r,ro,rod->d", share, slopes, jacobian).cpu()
            curvatures[column] += torch.einsum("rod,roe->de", jacobian, bent).cpu()
    losses = [
        loss_on_labelled(task.loss, predicted, target.double(), examples.weights)
        for task, predicted, target in zip(
            tasks, torch.cat(outputs).split(sizes, 1), examples.targets.unbind(1), strict=True
        )
    ]
    return DataStatistics(
        names=tuple(task.name for task in tasks),
        losses=torch.stack(losses).cpu(),
        gradients=gradients,
        curvatures=curvatures,
        n_labels=labelled.sum(dim=0).cpu(),
        n_rows=torch.full((len(tasks),), len(examples)),
    ).check()


def _derivatives(task: Task, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Of each row's loss by its outputs: the first, and the convex part of the second."""

    def of_row(outputs: Tensor, target: Tensor) -> Tensor:
        return task.loss(outputs[None], target[None])

    sizes, directions = torch.linalg.eigh(vmap(jacrev(jacrev(of_row)))(outputs, targets))
    convex = torch.einsum("rok,rk,rpk->rop", directions, sizes.clamp(min=0), directions)
    return vmap(grad(of_row))(outputs, targets), convex
