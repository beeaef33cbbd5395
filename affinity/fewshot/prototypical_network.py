"""Prototypical networks: the nearest class mean in a learned embedding."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import vmap

from affinity.errors import InputError

from .episodes import Episodes
from .learned import Learned
from .meta_training import meta_train
from .network import Network, Tensors
from .problem import FewShotProblem


@dataclass(frozen=True)
class PrototypicalNetwork:
    r"""Train the trunk so that queries lie near the mean of their class's support rows.

    .. math::
        p(y = k \mid x) \propto \exp(-\lVert f_\theta(x) - c_k \rVert^2), \qquad
        c_k = \frac{1}{K} \sum_{(x_i, k)} f_\theta(x_i)

    A new task takes no gradient steps; the head is not used. Classes only. An iteration costs one
    backward pass.

    References:
        Snell et al. (2017), `Prototypical Networks for Few-shot Learning
        <https://arxiv.org/abs/1703.05175>`_, equations 1 and 2.
    """

    def __call__(self, problem: FewShotProblem, seed: int = 0) -> "Embedding":
        """Learn the embedding."""
        if not problem.has_classes:
            raise InputError(
                f"Expected classes for a prototypical network, but {problem.task.name!r} has none: "
                "prototypes are means of classes. Take MAML or Reptile for regressions."
            )
        network = problem.network(seed)
        ways = problem.task.n_outputs

        def loss_of(parameters: Tensors, generator: torch.Generator) -> Tensor:
            episodes = problem.draw_batch(generator)
            scores = Embedding(network, parameters, ways).scores(episodes)
            return vmap(problem.task.loss)(scores, episodes.query_targets).mean()

        network.train()
        start = {n: value for n, value in network.tensors().items() if n.startswith("trunk.")}
        parameters = meta_train(problem, start, loss_of, seed, "prototypical network")
        network.eval()
        return Embedding(network, parameters, ways)


@dataclass(frozen=True, eq=False)
class Embedding(Learned):
    """A trunk, and the nearest class mean in its representation.

    Args:
        network: Its trunk embeds.
        parameters: Of the trunk.
        ways: Classes a task.

    Example:
        >>> from torch import nn
        >>> here = Embedding(Network(nn.Identity(), nn.Identity()), {}, ways=2)
        >>> here.scores(Episodes(torch.tensor([[[0.0], [2.0], [5.0]]]), torch.tensor([[0.0, 0, 1]]),
        ...                      torch.tensor([[[2.0]]]), torch.tensor([[0.0]])))
        tensor([[[-1., -9.]]])
    """

    network: Network
    parameters: Tensors
    ways: int

    def scores(self, episodes: Episodes) -> Float[Tensor, "task query way"]:
        """Minus the squared distance of each query to each class mean."""

        def of_task(inputs: Tensor, targets: Tensor, queries: Tensor) -> Tensor:
            support = self.network.represent(self.parameters, inputs).flatten(1)
            query = self.network.represent(self.parameters, queries).flatten(1)
            is_of = (targets.unsqueeze(1) == torch.arange(self.ways)).to(support)  # support way
            means = is_of.T @ support / is_of.sum(dim=0).unsqueeze(1)
            return -(query.unsqueeze(1) - means).square().sum(dim=2)

        return vmap(of_task, randomness="different")(
            episodes.support_inputs, episodes.support_targets, episodes.query_inputs
        )

    def predict(
        self, episodes: Episodes, steps: tuple[int, ...]
    ) -> Float[Tensor, "step task query output"]:
        """The scores, which no step changes."""
        with torch.no_grad():
            scores = self.scores(episodes)
        return scores.expand(len(steps), *scores.shape)
