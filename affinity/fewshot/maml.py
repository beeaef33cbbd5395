"""Model-agnostic meta-learning (MAML) and its variants: an initialization that adapts fast."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import vmap

from affinity.errors import check_number

from .episodes import Episodes
from .learner import LearnedInitialization, learn_initialization
from .network import FewShotNetwork, Parameters, adapt, is_any, is_of_head
from .problem import FewShotProblem


@dataclass(frozen=True)
class MAML:
    r"""Minimize the query loss after adaptation, through the gradient steps of the adaptation.

    .. math::
        \min_\theta \sum_i L_i(\phi_i, D_i^{\text{query}}), \qquad
        \phi_i = \theta - \alpha \nabla_\theta L_i(\theta, D_i^{\text{support}})

    with `inner_steps` such steps. The outer gradient is exact: it includes the second derivatives
    of the support loss. All tasks of a batch are adapted to at once. An iteration costs about
    ``3 * inner_steps + 1`` backward passes.

    Args:
        inner_steps: Gradient steps in meta-training; more can be made on a new task.

    References:
        Finn et al. (2017), `Model-Agnostic Meta-Learning <https://arxiv.org/abs/1703.03400>`_,
        algorithm 2.
    """

    inner_steps: int = 3

    def __post_init__(self) -> None:
        check_number("inner_steps", self.inner_steps, "too-few-steps", least=1)

    def __call__(self, problem: FewShotProblem, seed: int = 0) -> LearnedInitialization:
        """Learn the initialization."""
        return _learn_initialization(problem, seed, "MAML", self.inner_steps)


@dataclass(frozen=True)
class FirstOrderMAML(MAML):
    r"""MAML without second derivatives: the adaptation is treated as a constant shift.

    .. math::
        \theta \leftarrow \theta - \beta \sum_i \nabla_{\phi_i} L_i(\phi_i, D_i^{\text{query}})

    An iteration costs about ``inner_steps + 1`` backward passes.

    Args:
        inner_steps: Gradient steps in meta-training.

    References:
        Finn et al. (2017), `Model-Agnostic Meta-Learning <https://arxiv.org/abs/1703.03400>`_,
        section 5.2.
    """

    def __call__(self, problem: FewShotProblem, seed: int = 0) -> LearnedInitialization:
        """Learn the initialization."""
        return _learn_initialization(
            problem, seed, "first-order MAML", self.inner_steps, is_first_order=True
        )


@dataclass(frozen=True)
class ANIL(MAML):
    """MAML that adapts only the head: the trunk is learned over tasks, and fixed within each.

    As good as MAML if tasks can share a representation, worse if the trunk has to change with the
    task. An iteration costs little more than two backward passes.

    Args:
        inner_steps: Gradient steps in meta-training.

    References:
        Raghu et al. (2020), `Rapid Learning or Feature Reuse?
        <https://arxiv.org/abs/1909.09157>`_, section 4.
    """

    def __call__(self, problem: FewShotProblem, seed: int = 0) -> LearnedInitialization:
        """Learn trunk and head."""
        return _learn_initialization(problem, seed, "ANIL", self.inner_steps, is_of_head)


def adapted_losses(
    network: FewShotNetwork,
    parameters: Parameters,
    episodes: Episodes,
    problem: FewShotProblem,
    inner_steps: int,
    is_adapted: Callable[[str], bool] = is_any,
    is_first_order: bool = False,
) -> Tensor:
    """Query loss of each task ``[task]`` after adaptation, for all tasks at once."""
    loss, rate = problem.task.loss, problem.inner_rate

    def query_loss(
        inputs: Tensor, targets: Tensor, query_inputs: Tensor, query_targets: Tensor
    ) -> Tensor:
        adapted = parameters
        for _ in range(inner_steps):
            adapted = adapt(
                network, adapted, inputs, targets, loss, rate, is_adapted, is_first_order
            )
        return loss(network.run(adapted, query_inputs), query_targets)

    return vmap(query_loss, randomness="different")(*episodes.parts)


def _learn_initialization(
    problem: FewShotProblem,
    seed: int,
    name: str,
    inner_steps: int,
    is_adapted: Callable[[str], bool] = is_any,
    is_first_order: bool = False,
) -> LearnedInitialization:
    network = problem.network(seed)

    def loss_of(parameters: Parameters, generator: torch.Generator) -> Tensor:
        episodes = problem.draw_batch(generator)
        return adapted_losses(
            network, parameters, episodes, problem, inner_steps, is_adapted, is_first_order
        ).mean()

    return learn_initialization(problem, seed, name, network, loss_of, is_adapted)
