"""Pretrained, then fine-tuned: one network for all meta-training tasks, adapted to a new one."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from .learned import Initialization
from .meta_training import meta_train
from .network import Tensors, everything, is_of_head
from .problem import FewShotProblem


@dataclass(frozen=True)
class Pretrained:
    """Train on the rows of all meta-training tasks as one problem; then take gradient steps.

    Classes: a classifier of all meta-training classes, whose head is replaced by one of zeros for
    the classes of a new task. Regressions: one network for all tasks, which learns their mean.

    Args:
        moves: Whether a new task moves all parameters, or the head alone.
    """

    moves: Literal["all", "head"] = "all"

    def __call__(self, problem: FewShotProblem, seed: int = 0) -> Initialization:
        """Pretrain with as many rows an iteration as the episodes of a batch have."""
        generator = torch.Generator().manual_seed(0)
        example = problem.training.draw(1, problem.shots, problem.queries, generator)
        n_rows = problem.batch * sum(part.shape[1] for part in example.parts[1::2])
        task = problem.training.joint(1, generator).task
        network = problem.network(seed, task)

        def loss_of(parameters: Tensors, generator: torch.Generator) -> Tensor:
            rows = problem.training.joint(n_rows, generator).rows
            return task.loss(network.run(parameters, rows.inputs), rows.targets[:, 0])

        network.train()
        parameters = meta_train(problem, network.tensors(), loss_of, seed, "pretraining")
        new = problem.network(seed)
        if problem.has_classes:
            kept = {name: value for name, value in parameters.items() if not is_of_head(name)}
            fresh = {
                name: value.zero_() for name, value in new.tensors().items() if is_of_head(name)
            }
            parameters = {**kept, **fresh}
        is_moved = everything if self.moves == "all" else is_of_head
        learned = Initialization(new, parameters, problem.task, problem.inner_rate, is_moved)
        return learned.with_chosen_rate(problem, seed)
