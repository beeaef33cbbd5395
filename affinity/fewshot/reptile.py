"""Reptile: an initialization in the middle of the parameters after training on each task."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import vmap

from affinity.errors import check_number

from .episodes import Episodes
from .learner import LearnedInitialization, learn_initialization
from .network import FewShotNetwork, Parameters, adapt
from .problem import FewShotProblem


@dataclass(frozen=True)
class Reptile:
    r"""Move the initialization towards the parameters after training on each task.

    .. math::
        \theta \leftarrow \theta + \epsilon \, \frac{1}{n} \sum_i (\phi_i - \theta)

    where :math:`\phi_i` is the result of `inner_steps` gradient steps, each on other rows of the
    task (both support and query rows, as many per step as there are support rows). θ minus the mean
    φ is used as the gradient of Adam, an option that the paper mentions. An iteration costs
    `inner_steps` backward passes.

    Args:
        inner_steps: Gradient steps per task; a single one would be training on all tasks jointly.

    References:
        Nichol et al. (2018), `On First-Order Meta-Learning Algorithms
        <https://arxiv.org/abs/1803.02999>`_, algorithm 2.
    """

    inner_steps: int = 5

    def __post_init__(self) -> None:
        check_number("inner_steps", self.inner_steps, "too-few-steps", least=2)

    def __call__(self, problem: FewShotProblem, seed: int = 0) -> LearnedInitialization:
        """Learn the initialization."""
        network = problem.network(seed)

        def loss_of(parameters: Parameters, generator: torch.Generator) -> Tensor:
            episodes = problem.draw_batch(generator)
            order = torch.randperm(episodes.rows, generator=generator)
            means = self.mean_adapted(network, parameters, episodes, problem, order)
            # half the squared distance, whose gradient is θ minus the mean
            return torch.stack(
                [(value - means[name]).square().sum() / 2 for name, value in parameters.items()]
            ).sum()

        return learn_initialization(problem, seed, "Reptile", network, loss_of)

    def mean_adapted(
        self,
        network: FewShotNetwork,
        parameters: Parameters,
        episodes: Episodes,
        problem: FewShotProblem,
        order: Tensor,
    ) -> Parameters:
        """The parameters after training on each task, averaged over tasks.

        Args:
            parameters: The initialization.
            problem: Provides the loss and the step size.
            order: Order of the rows of a task, support rows first.
        """
        inputs = torch.cat([episodes.support_inputs, episodes.query_inputs], dim=1)[:, order]
        targets = torch.cat([episodes.support_targets, episodes.query_targets], dim=1)[:, order]
        per_step = episodes.support_targets.shape[1]
        initial = {name: value.detach() for name, value in parameters.items()}
        loss, rate = problem.task.loss, problem.inner_rate

        def train_on_task(inputs: Tensor, targets: Tensor) -> Parameters:
            adapted = initial
            for step in range(self.inner_steps):
                rows = torch.arange(step * per_step, (step + 1) * per_step) % len(order)
                adapted = adapt(network, adapted, inputs[rows], targets[rows], loss, rate)
            return adapted

        with torch.no_grad():
            adapted = vmap(train_on_task, randomness="different")(inputs, targets)
        return {name: value.mean(dim=0) for name, value in adapted.items()}
