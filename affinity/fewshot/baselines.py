"""Baselines without meta-learning: from scratch, a linear model, and pretraining."""

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from sklearn.linear_model import LogisticRegression, Ridge
from torch import Tensor

from affinity.tasks import SquaredError, Task
from affinity.training.device import move_rows

from .episodes import Episodes
from .learner import RATES, FewShotLearner, LearnedInitialization, task_losses, validation_episodes
from .meta_training import meta_train
from .network import Parameters, device_of, is_any, is_of_head
from .problem import FewShotProblem

STEP_COUNTS = (10, 30, 100, 300)
LONGEST = 1000
PENALTIES = (0.01, 0.1, 1.0, 10.0, 100.0)


@dataclass(frozen=True)
class FromScratch:
    """Train a randomly initialized network with the support rows of the task only.

    Step size and number of steps are those with the lowest loss on validation tasks, so that gains
    over this baseline are not due to training that was too short or too long. Its predictions do
    not depend on the number of adaptation steps that other methods are allowed.
    """

    def __call__(self, problem: FewShotProblem, seed: int = 0) -> FewShotLearner:
        """Choose the step size and the number of steps."""
        network = problem.network(seed)
        initial = LearnedInitialization(
            network, network.tensors(), problem.task, problem.inner_rate
        )
        episodes = validation_episodes(problem, seed)

        def losses(learner: FewShotLearner, counts: tuple[int, ...]) -> dict[int, float]:
            values = task_losses(problem.task, learner.predict(episodes, counts), episodes)
            means = values.mean(dim=1).nan_to_num(nan=math.inf).tolist()
            return dict(zip(counts, means, strict=True))

        results: dict[TrainedToTheEnd, float] = {}
        for rate in RATES:
            learner = replace(initial, rate=rate)
            for count, loss in losses(learner, STEP_COUNTS).items():
                results[TrainedToTheEnd(learner, count)] = loss
        best = min(results, key=results.__getitem__)
        if best.n_steps == STEP_COUNTS[-1]:  # it may not have converged
            longest = losses(best.initialization, (LONGEST,))[LONGEST]
            if longest < results[best]:
                return replace(best, n_steps=LONGEST)
        return best


@dataclass(frozen=True, eq=False)
class TrainedToTheEnd(FewShotLearner):
    """A fixed number of gradient steps from an initialization."""

    initialization: LearnedInitialization
    n_steps: int

    def predict(
        self, episodes: Episodes, steps: tuple[int, ...]
    ) -> Float[Tensor, "step task query output"]:
        """The same predictions for each number of steps."""
        return self.initialization.predict(episodes, (self.n_steps,)).expand(len(steps), *[-1] * 3)


@dataclass(frozen=True)
class LinearModel:
    """Logistic regression (ridge regression for numbers) on the inputs, without a network.

    Shows whether a representation is needed at all. The strength of its L2 penalty is the one with
    the lowest loss on validation tasks.
    """

    def __call__(self, problem: FewShotProblem, seed: int = 0) -> FewShotLearner:
        """Choose the strength of the penalty."""
        episodes = validation_episodes(problem, seed)

        def loss(learner: LinearLearner) -> float:
            predictions = learner.predict(episodes, problem.steps)[-1:]
            return float(task_losses(problem.task, predictions, episodes).mean())

        return min((LinearLearner(problem.task, penalty) for penalty in PENALTIES), key=loss)


@dataclass(frozen=True, eq=False)
class LinearLearner(FewShotLearner):
    """Fits scikit-learn's linear model to the support rows of each task."""

    task: Task
    penalty: float

    def predict(
        self, episodes: Episodes, steps: tuple[int, ...]
    ) -> Float[Tensor, "step task query output"]:
        """Logits of each class, or numbers; the same for each number of steps."""
        predictions = torch.stack([self._predict_one(task) for task in episodes])
        return predictions.expand(len(steps), *predictions.shape)

    def _predict_one(self, task: Episodes) -> Float[Tensor, "query output"]:
        inputs, queries = (
            rows[0].flatten(1).double().numpy() for rows in (task.support_inputs, task.query_inputs)
        )
        targets = task.support_targets[0].double().numpy()
        if isinstance(self.task.loss, SquaredError):
            values = Ridge(alpha=self.penalty).fit(inputs, targets).predict(queries)
            return torch.from_numpy(values).float()[:, None]
        n_classes = max(2, self.task.n_outputs)
        probabilities = np.full((len(queries), n_classes), 1e-6)
        classes = np.unique(targets).astype(int)
        if len(classes) == 1:  # nothing to tell apart
            probabilities[:, classes[0]] = 1.0
        else:
            model = LogisticRegression(C=1 / self.penalty, max_iter=1000).fit(inputs, targets)
            probabilities[:, classes] = np.maximum(model.predict_proba(queries), 1e-6)
        logits = torch.from_numpy(np.log(probabilities)).float()
        return logits if self.task.n_outputs > 1 else logits[:, 1:] - logits[:, :1]


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
            rows = move_rows(rows, device_of(parameters))
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
