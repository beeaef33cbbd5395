"""Model-agnostic meta-learning: an initialization that a few gradient steps improve most."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import vmap

from affinity.errors import InputError

from .episodes import Episodes
from .inner_loop import adapt
from .learned import Initialization
from .meta_training import meta_train
from .network import Network, Tensors, everything
from .problem import FewShotProblem


@dataclass(frozen=True)
class MAML:
    r"""Lower the query loss after adaptation, through the adaptation's own gradient steps.

    .. math::
        \min_\theta \sum_i L_i(\phi_i, D_i^{\text{query}}), \qquad
        \phi_i = \theta - \alpha \nabla_\theta L_i(\theta, D_i^{\text{support}})

    with `inner_steps` such steps. The outer gradient is exact: it holds the second derivatives of
    the support loss. All tasks of a batch are adapted at once. An iteration costs about
    ``3 * inner_steps + 1`` backward passes.

    Args:
        inner_steps: Gradient steps in meta-training; more may be made on a new task.

    References:
        Finn et al. (2017), `Model-Agnostic Meta-Learning <https://arxiv.org/abs/1703.03400>`_,
        algorithm 2.
    """

    inner_steps: int = 3

    def __post_init__(self) -> None:
        check_inner_steps(self.inner_steps, least=1)

    def __call__(self, problem: FewShotProblem, seed: int = 0) -> Initialization:
        """Learn the initialization."""
        return learn_initialization(problem, seed, "MAML", self.inner_steps)


def learn_initialization(
    problem: FewShotProblem,
    seed: int,
    name: str,
    inner_steps: int,
    is_moved: Callable[[str], bool] = everything,
    is_first_order: bool = False,
) -> Initialization:
    """What MAML and its variants share: they differ in what moves and in what is differentiated."""
    network = problem.network(seed)

    def loss_of(parameters: Tensors, generator: torch.Generator) -> Tensor:
        episodes = problem.draw_batch(generator)
        return adapted_losses(
            network, parameters, episodes, problem, inner_steps, is_moved, is_first_order
        ).mean()

    network.train()
    parameters = meta_train(problem, network.tensors(), loss_of, seed, name)
    learned = Initialization(network, parameters, problem.task, problem.inner_rate, is_moved)
    return learned.with_chosen_rate(problem, seed)


def adapted_losses(
    network: Network,
    parameters: Tensors,
    episodes: Episodes,
    problem: FewShotProblem,
    inner_steps: int,
    is_moved: Callable[[str], bool] = everything,
    is_first_order: bool = False,
) -> Tensor:
    """Query loss of each task ``[task]`` after adaptation, all tasks at once."""
    loss = problem.task.loss

    def of_task(
        inputs: Tensor, targets: Tensor, query_inputs: Tensor, query_targets: Tensor
    ) -> Tensor:
        own = parameters
        for _ in range(inner_steps):
            own = adapt(
                network, own, inputs, targets, loss, problem.inner_rate, is_moved, is_first_order
            )
        return loss(network.run(own, query_inputs), query_targets)

    return vmap(of_task, randomness="different")(*episodes.parts)


def check_inner_steps(inner_steps: int, least: int) -> None:
    """Say what is wrong with a number of inner steps, if anything."""
    if inner_steps < least:
        raise InputError(f"Expected at least {least} inner steps, but got {inner_steps}.")
