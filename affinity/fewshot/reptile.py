"""Reptile: an initialization in the middle of where tasks lead to."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import vmap

from .episodes import Episodes
from .inner_loop import adapt
from .learned import Initialization
from .maml import check_inner_steps
from .meta_training import meta_train
from .network import Network, Tensors
from .problem import FewShotProblem


@dataclass(frozen=True)
class Reptile:
    r"""Move the initialization towards the parameters that training on each task ends with.

    .. math::
        \theta \leftarrow \theta + \epsilon \, \frac{1}{n} \sum_i (\phi_i - \theta)

    where :math:`\phi_i` comes from `inner_steps` gradient steps, each on other rows of the task
    (support and query rows alike, as many a step as support rows). θ minus the mean φ is handed to
    Adam as if it were a gradient, which the paper names as a choice. An iteration costs
    `inner_steps` backward passes.

    Args:
        inner_steps: Gradient steps on a task; with one it would be training on all tasks jointly.

    References:
        Nichol et al. (2018), `On First-Order Meta-Learning Algorithms
        <https://arxiv.org/abs/1803.02999>`_, algorithm 2.
    """

    inner_steps: int = 5

    def __post_init__(self) -> None:
        check_inner_steps(self.inner_steps, least=2)

    def __call__(self, problem: FewShotProblem, seed: int = 0) -> Initialization:
        """Learn the initialization."""
        network = problem.network(seed)

        def loss_of(parameters: Tensors, generator: torch.Generator) -> Tensor:
            episodes = problem.draw_batch(generator)
            order = torch.randperm(
                sum(part.shape[1] for part in episodes.parts[1::2]), generator=generator
            )
            ends = self.ends(network, parameters, episodes, problem, order)
            # half the squared distance: its gradient is θ minus the mean of the ends
            return torch.stack(
                [(value - ends[name]).square().sum() / 2 for name, value in parameters.items()]
            ).sum()

        network.train()
        parameters = meta_train(problem, network.tensors(), loss_of, seed, "Reptile")
        learned = Initialization(network, parameters, problem.task, problem.inner_rate)
        return learned.with_chosen_rate(problem, seed)

    def ends(
        self,
        network: Network,
        parameters: Tensors,
        episodes: Episodes,
        problem: FewShotProblem,
        order: Tensor,
    ) -> Tensors:
        """The mean over tasks of the parameters that training on each ends with.

        Args:
            network: What is trained.
            parameters: Where every task starts.
            episodes: The tasks.
            problem: Has the loss and the step size.
            order: Of the rows of a task, support rows first.
        """
        inputs = torch.cat([episodes.support_inputs, episodes.query_inputs], dim=1)[:, order]
        targets = torch.cat([episodes.support_targets, episodes.query_targets], dim=1)[:, order]
        a_step = episodes.support_targets.shape[1]
        start = {name: value.detach() for name, value in parameters.items()}

        def of_task(inputs: Tensor, targets: Tensor) -> Tensors:
            own = start
            for step in range(self.inner_steps):
                rows = torch.arange(step * a_step, (step + 1) * a_step) % len(order)
                own = adapt(
                    network, own, inputs[rows], targets[rows], problem.task.loss, problem.inner_rate
                )
            return own

        with torch.no_grad():
            ends = vmap(of_task, randomness="different")(inputs, targets)
        return {name: value.mean(dim=0) for name, value in ends.items()}
