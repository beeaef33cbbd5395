"""Baselines without meta-learning: training from scratch, and pretraining then fine-tuning."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from .learner import LearnedInitialization
from .meta_training import meta_train
from .network import Parameters, is_any, is_of_head
from .problem import FewShotProblem


@dataclass(frozen=True)
class FromScratch:
    """Gradient steps from a random initialization, with the support rows of the task only."""

    def __call__(self, problem: FewShotProblem, seed: int = 0) -> LearnedInitialization:
        """Only choose the step size."""
        network = problem.network(seed)
        initial = LearnedInitialization(
            network, network.tensors(), problem.task, problem.inner_rate
        )
        return initial.with_chosen_rate(problem, seed)


@dataclass(frozen=True)
class Pretrained:
    """Pretrain on the pooled rows of all meta-training tasks; then adapt by gradient steps.

    Classification: a classifier of all meta-training classes, whose head is replaced by zeros for
    the classes of a new task. Regression: one network for all tasks, which learns their mean.

    Args:
        moves: Whether to adapt all parameters, or only the head.
    """

    moves: Literal["all", "head"] = "all"

    def __call__(self, problem: FewShotProblem, seed: int = 0) -> LearnedInitialization:
        """Pretrain with as many rows per iteration as a batch of episodes has."""
        generator = torch.Generator().manual_seed(0)
        example = problem.training.draw(1, problem.shots, problem.queries, generator)
        n_rows = problem.batch * example.rows
        task = problem.training.pooled_task
        network = problem.network(seed, task)

        def loss_of(parameters: Parameters, generator: torch.Generator) -> Tensor:
            rows = problem.training.pooled_rows(n_rows, generator)
            return task.loss(network.run(parameters, rows.inputs), rows.targets[:, 0])

        network.train()
        parameters = meta_train(problem.settings, network.tensors(), loss_of, seed, "pretraining")
        adapted = problem.network(seed)
        if problem.has_classes:
            trunk = {name: value for name, value in parameters.items() if not is_of_head(name)}
            head = {n: value.zero_() for n, value in adapted.tensors().items() if is_of_head(n)}
            parameters = {**trunk, **head}
        is_adapted = is_any if self.moves == "all" else is_of_head
        learned = LearnedInitialization(
            adapted, parameters, problem.task, problem.inner_rate, is_adapted
        )
        return learned.with_chosen_rate(problem, seed)
