"""What a few-shot method has learned, and how it predicts the queries of new tasks."""

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
from .inner_loop import adapt
from .network import Network, Tensors, everything
from .problem import FewShotProblem
from .random_numbers import generator_of

RATES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
"""Step sizes among which an adaptation's is chosen, the same for every method."""
TASKS_TO_CHOOSE_ON = 100


class Learned(ABC):
    """Adapts to the support rows of new tasks, and predicts their queries."""

    @abstractmethod
    def predict(
        self, episodes: Episodes, steps: tuple[int, ...]
    ) -> Float[Tensor, "step task query output"]:
        """Predictions after so many gradient steps on the support rows."""


@dataclass(frozen=True, eq=False)
class Initialization(Learned):
    """Parameters from which a few gradient steps lead to a task.

    Args:
        network: The trunk and head.
        parameters: θ.
        task: Has the loss.
        rate: Step size of the adaptation.
        is_moved: Which parameters the adaptation moves, by name.
    """

    network: Network
    parameters: Tensors
    task: Task
    rate: float
    is_moved: Callable[[str], bool] = everything

    def predict(
        self, episodes: Episodes, steps: tuple[int, ...]
    ) -> Float[Tensor, "step task query output"]:
        """Adapt to all tasks at once with full-batch gradient steps."""

        def of_task(inputs: Tensor, targets: Tensor, queries: Tensor) -> Tensor:
            parameters, predictions = self.parameters, list[Tensor]()
            for step in range(1, steps[-1] + 1):
                parameters = adapt(
                    self.network,
                    parameters,
                    inputs,
                    targets,
                    self.task.loss,
                    self.rate,
                    self.is_moved,
                )
                if step in steps:
                    predictions.append(self.network.run(parameters, queries))
            return torch.stack(predictions)

        self.network.eval()
        with torch.no_grad():
            together = vmap(of_task)(
                episodes.support_inputs, episodes.support_targets, episodes.query_inputs
            )
        return together.transpose(0, 1)

    def with_chosen_rate(self, problem: FewShotProblem, seed: int) -> "Initialization":
        """The same parameters with the step size that is best after the last step.

        Chosen among `RATES` by the mean loss on validation tasks, so that every method that adapts
        by gradient steps has had the same choice.
        """
        episodes = problem.validation.draw(
            TASKS_TO_CHOOSE_ON,
            problem.shots,
            problem.queries,
            generator_of(seed, "choice of the rate"),
        )

        def loss(each: Initialization) -> float:
            predictions = each.predict(episodes, problem.steps)[-1:]
            value = float(task_losses(problem.task, predictions, episodes).mean())
            return value if math.isfinite(value) else math.inf

        return min((replace(self, rate=rate) for rate in RATES), key=loss)


def task_losses(
    task: Task, predictions: Float[Tensor, "step task query output"], episodes: Episodes
) -> Float[Tensor, "step task"]:
    """The mean loss on the queries of each task."""
    return torch.stack([vmap(task.loss)(each, episodes.query_targets) for each in predictions])
