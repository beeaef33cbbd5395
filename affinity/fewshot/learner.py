"""Few-shot learners: what a method has learned, and how it adapts to new tasks."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import vmap

from affinity.tasks import Task

from .episodes import Episodes
from .meta_training import meta_train
from .network import FewShotNetwork, Parameters, adapt, device_of, is_any
from .problem import FewShotProblem
from .random_numbers import generator_of

RATES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)  # step sizes to choose from, for every method
TASKS_TO_CHOOSE_ON = 100


class FewShotLearner(ABC):
    """Adapts to the support rows of new tasks, and predicts their query rows."""

    @abstractmethod
    def predict(
        self, episodes: Episodes, steps: tuple[int, ...]
    ) -> Float[Tensor, "step task query output"]:
        """Predictions after each of these numbers of gradient steps on the support rows."""


@dataclass(frozen=True, eq=False)
class LearnedInitialization(FewShotLearner):
    """Parameters from which a few gradient steps adapt to a new task.

    Args:
        parameters: θ.
        task: Provides the loss.
        rate: Step size of the adaptation.
    """

    network: FewShotNetwork
    parameters: Parameters
    task: Task
    rate: float
    is_adapted: Callable[[str], bool] = is_any

    def predict(
        self, episodes: Episodes, steps: tuple[int, ...]
    ) -> Float[Tensor, "step task query output"]:
        """Adapt to all tasks at once with full-batch gradient steps."""

        def predict_task(inputs: Tensor, targets: Tensor, queries: Tensor) -> Tensor:
            parameters, predictions = self.parameters, list[Tensor]()
            for step in range(1, steps[-1] + 1):
                parameters = adapt(
                    self.network,
                    parameters,
                    inputs,
                    targets,
                    self.task.loss,
                    self.rate,
                    self.is_adapted,
                )
                if step in steps:
                    predictions.append(self.network.run(parameters, queries))
            return torch.stack(predictions)

        self.network.eval()
        here = episodes.to(device_of(self.parameters))
        with torch.no_grad():
            predictions = vmap(predict_task)(
                here.support_inputs, here.support_targets, here.query_inputs
            )
        return predictions.transpose(0, 1).to(episodes.query_inputs.device)

    def with_chosen_rate(self, problem: FewShotProblem, seed: int) -> "LearnedInitialization":
        """The same parameters with the best step size after the last step.

        Chosen among `RATES` by the mean loss on validation tasks, in the same way for every method
        that adapts by gradient steps.
        """
        episodes = validation_episodes(problem, seed)

        def loss(candidate: LearnedInitialization) -> float:
            predictions = candidate.predict(episodes, problem.steps)[-1:]
            value = float(task_losses(problem.task, predictions, episodes).mean())
            return value if math.isfinite(value) else math.inf

        return min((replace(self, rate=rate) for rate in RATES), key=loss)


def learn_initialization(
    problem: FewShotProblem,
    seed: int,
    name: str,
    network: FewShotNetwork,
    loss_of: Callable[[Parameters, torch.Generator], Tensor],
    is_adapted: Callable[[str], bool] = is_any,
) -> LearnedInitialization:
    """Minimize a loss of meta-training tasks from these parameters; then choose the rate."""
    network.train()
    parameters = meta_train(problem.settings, network.tensors(), loss_of, seed, name)
    learned = LearnedInitialization(
        network, parameters, problem.task, problem.inner_rate, is_adapted
    )
    return learned.with_chosen_rate(problem, seed)


def validation_episodes(problem: FewShotProblem, seed: int) -> Episodes:
    """The validation tasks on which step sizes and other settings are chosen."""
    generator = generator_of(seed, "choice of the rate")
    return problem.validation.draw(TASKS_TO_CHOOSE_ON, problem.shots, problem.queries, generator)


def task_losses(
    task: Task, predictions: Float[Tensor, "step task query output"], episodes: Episodes
) -> Float[Tensor, "step task"]:
    """The mean loss on the query rows of each task."""
    return torch.stack(
        [vmap(task.loss)(of_step, episodes.query_targets) for of_step in predictions]
    )
