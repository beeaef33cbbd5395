"""Prototypical networks: the nearest class mean in a learned embedding."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import vmap

from affinity.errors import InputError

from .episodes import Episodes
from .learner import FewShotLearner
from .meta_training import meta_train
from .network import FewShotNetwork, Parameters, device_of, is_of_head
from .problem import FewShotProblem


@dataclass(frozen=True)
class PrototypicalNetwork:
    r"""Train the trunk so that query rows are close to the mean of their class's support rows.

    .. math::
        p(y = k \mid x) \propto \exp(-\lVert f_\theta(x) - c_k \rVert^2), \qquad
        c_k = \frac{1}{K} \sum_{(x_i, k)} f_\theta(x_i)

    No gradient steps on a new task; the head is not used. Classification only. An iteration costs
    one backward pass.

    References:
        Snell et al. (2017), `Prototypical Networks for Few-shot Learning
        <https://arxiv.org/abs/1703.05175>`_, equations 1 and 2.
    """

    def __call__(self, problem: FewShotProblem, seed: int = 0) -> "LearnedEmbedding":
        """Learn the embedding."""
        if not problem.has_classes:
            raise InputError(
                f"Expected classes for a prototypical network, but {problem.task.name!r} is a "
                "regression. Use MAML or Reptile.",
                "needs-classes",
            )
        network = problem.network(seed)
        ways = problem.task.n_outputs

        def loss_of(parameters: Parameters, generator: torch.Generator) -> Tensor:
            episodes = problem.draw_batch(generator)
            scores = LearnedEmbedding(network, parameters, ways).scores(episodes)
            return vmap(problem.task.loss)(scores, episodes.query_targets).mean()

        network.train()
        trunk = {n: value for n, value in network.tensors().items() if not is_of_head(n)}
        parameters = meta_train(problem.settings, trunk, loss_of, seed, "prototypical network")
        network.eval()
        return LearnedEmbedding(network, parameters, ways)


@dataclass(frozen=True, eq=False)
class LearnedEmbedding(FewShotLearner):
    """Predicts the class with the nearest mean in the representation of a trunk.

    Args:
        network: Its trunk is the embedding.
        ways: Classes per task.

    Example:
        >>> from torch import nn
        >>> identity = FewShotNetwork(nn.Identity(), nn.Identity())
        >>> support = torch.tensor([[[0.0], [2.0], [5.0]]]), torch.tensor([[0.0, 0.0, 1.0]])
        >>> query = torch.tensor([[[2.0]]]), torch.tensor([[0.0]])
        >>> LearnedEmbedding(identity, {}, ways=2).scores(Episodes(*support, *query))
        tensor([[[-1., -9.]]])
    """

    network: FewShotNetwork
    parameters: Parameters
    ways: int

    def scores(self, episodes: Episodes) -> Float[Tensor, "task query way"]:
        """Minus the squared distance of each query row to each class mean."""

        def score_task(inputs: Tensor, targets: Tensor, queries: Tensor) -> Tensor:
            support = self.network.represent(self.parameters, inputs).flatten(1)
            query = self.network.represent(self.parameters, queries).flatten(1)
            is_of = (targets.unsqueeze(1) == torch.arange(self.ways, device=targets.device)).to(
                support
            )  # support way
            means = is_of.T @ support / is_of.sum(dim=0).unsqueeze(1)
            return -(query.unsqueeze(1) - means).square().sum(dim=2)

        return vmap(score_task, randomness="different")(
            episodes.support_inputs, episodes.support_targets, episodes.query_inputs
        )

    def predict(
        self, episodes: Episodes, steps: tuple[int, ...]
    ) -> Float[Tensor, "step task query output"]:
        """The scores, the same at every step."""
        with torch.no_grad():
            scores = self.scores(episodes.to(device_of(self.parameters)))
        scores = scores.to(episodes.query_inputs.device)
        return scores.expand(len(steps), *scores.shape)
