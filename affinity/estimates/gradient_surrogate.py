"""Gradient surrogate: groups predicted by the linearized network of one joint run (Grad-TAG)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from affinity.errors import InputError
from affinity.problems import Problem
from affinity.tasks import Examples, Task
from affinity.training import initial, train

from .linearized_network import LinearizedNetwork
from .row_gradients import Projection, row_gradients


@dataclass(frozen=True)
class GradientSurrogate:
    r"""Predict the losses of any group of tasks from gradients of single rows at one network.

    Around the parameters :math:`\theta^*` of a network that was trained on all tasks, with P a
    projection to a few dimensions by random signs over :math:`\sqrt{d}`,

    .. math::
        f_k(x; \theta^* + P w) \approx f_k(x; \theta^*) + (P^T \nabla_\theta f_k(x; \theta^*))^T w

    so that fine-tuning on the tasks S is a ridge or logistic regression on d features,

    .. math::
        w_S = \arg\min_w \; \sum_{k \in S} L_k(f_k + G_k w) + \frac{\lambda}{2} \|w\|^2

    on training rows; its losses on other rows are the prediction for the group. The cost is the
    joint run, one backward pass per row and output, and per group a regression on d features,
    cubic in d, but no training. Memory: d numbers per row and output, and d per parameter. The
    released code uses logistic regression on gradients alone and evaluates the real network; here
    the network's predictions are the offset, every loss is used as it is, and `is_real` evaluates
    the real network.

    Args:
        dimensions: d; None keeps all parameters.
        strengths: Values of lambda, of which the one with the lowest losses of single tasks and of
            all together on the selection rows is chosen.
        is_real: Evaluate the real network at the shifted parameters, not the linearized one.
        rows: Maximum number of labelled training rows and of selection rows per task, drawn at
            random; None uses all.
        seed: Random seed of the projection and of the rows.

    Raises:
        InputError: If a setting is out of range.

    References:
        Li et al. (2024), `Scalable Multitask Learning Using Gradient-based Estimation of Task
        Affinity <https://arxiv.org/abs/2409.06091>`_.
    """

    dimensions: int | None = 200
    strengths: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
    is_real: bool = False
    rows: int | None = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.rows is not None and self.rows < 1:
            raise InputError(f"Expected at least 1 row, but got {self.rows}.", "invalid-setting")
        if self.dimensions is not None and self.dimensions < 1:
            raise InputError(
                f"Expected at least 1 dimension, but got {self.dimensions}.", "invalid-setting"
            )
        if not self.strengths or min(self.strengths) <= 0:
            raise InputError(
                f"Expected strengths above 0, but got {self.strengths}.", "invalid-setting"
            )

    def __call__(self, problem: Problem, seed: int = 0) -> LinearizedNetwork:
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
    ) -> LinearizedNetwork:
        """Linearize a trained network around its parameters.

        Args:
            network: Gives a prediction ``[row output]`` for each task by name.
            tasks: The tasks, in the order of the targets' columns.
            training: Rows to fit on.
            evaluation: Rows to predict losses on.
        """
        was_training = network.training
        network.eval()
        parameters = {n: p.detach() for n, p in network.named_parameters() if p.requires_grad}
        projection = Projection(parameters, self.dimensions, self.seed)
        names = [task.name for task in tasks]
        training, evaluation = self._sample(training), self._sample(evaluation)
        linearized = LinearizedNetwork(
            specs=tuple(tasks),
            training=row_gradients(network, parameters, names, training, projection),
            evaluation=row_gradients(network, parameters, names, evaluation, projection),
            strength=self.strengths[0],
            network=network if self.is_real else None,
            projection=projection,
            inputs=evaluation.inputs,
        )
        network.train(was_training)
        if len(self.strengths) == 1:
            return linearized
        return min(
            (linearized.with_strength(strength) for strength in self.strengths),
            key=lambda network: network.total_loss(),
        )

    def _sample(self, examples: Examples) -> Examples:
        """Random rows with `self.rows` labels of each task, or all labels of a task with fewer."""
        if self.rows is None:
            return examples
        generator = torch.Generator().manual_seed(self.seed)
        order = torch.randperm(len(examples), generator=generator)
        labelled = examples.labelled[order]
        wanted = (labelled & (labelled.cumsum(dim=0) <= self.rows)).any(dim=1)
        return examples.take(order[wanted].sort().values)
