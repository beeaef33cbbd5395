"""A reference that shares nothing: gradient boosting per task, on the same rows as the networks."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from affinity.problems import Problem
from affinity.problems.problem import output_of
from affinity.statistics import Gains
from affinity.tasks import BinaryCrossEntropy, CrossEntropy, Examples, SquaredError, Task
from affinity.training.judge import block_losses, block_metrics, losses_of, metric_of

BOOSTING = "gradient boosting"
MOST_REPLICATES = 3
MOST_ITERATIONS = 100


@dataclass(frozen=True, eq=False)
class Reference:
    """Test scores of scikit-learn's histogram gradient boosting, trained per task.

    Args:
        name: What it is called in tables.
        tasks: The tasks' names.
        scores: Test scores as those of the networks: the loss, or the metric of a task that is
            judged by it; NaN for a loss that boosting does not support.
        metrics: Test metrics.
        blocks: Test scores on blocks of test rows; NaN beyond the blocks of a task.
        seconds: Time per replicate.
    """

    name: str
    tasks: tuple[str, ...]
    scores: Float[Tensor, "replicate task"]
    metrics: Float[Tensor, "replicate task"]
    blocks: Float[Tensor, "replicate task block"]
    seconds: float

    def gains_over(self, networks: Gains) -> Gains:
        """Its gains over networks on the same replicates; above 0: boosting is better."""
        paired = networks.first(len(self.scores))
        n_blocks = 0 if paired.score_blocks is None else paired.score_blocks.shape[2]
        has_blocks = paired.score_blocks is not None and n_blocks == self.blocks.shape[2]
        return Gains(
            self.tasks,
            self.scores,
            paired.scores.double(),
            paired.definitions,
            self.blocks if has_blocks else None,
            paired.score_blocks if has_blocks else None,
        )


def train_reference(
    problem: Problem, seeds: Sequence[int], n_blocks: int, seconds: float = 60.0
) -> Reference | None:
    """Boost each task on the first replicates.

    A model learns from the training rows; the validation rows decide on the number of trees, as
    they decide when a network stops.

    Args:
        problem: Tasks and rows; inputs are ``[row feature]``.
        seeds: Seeds of replicates; up to `MOST_REPLICATES` of them are used.
        n_blocks: Number of blocks of test rows.
        seconds: No further model is begun after this time; a replicate that is not complete is
            left out.

    Returns:
        The scores; None if not even one replicate was complete, inputs are no table, or no task
        has a loss that boosting supports.
    """
    if problem.development.inputs.ndim != 2:
        return None
    start = time.monotonic()
    scores: list[list[float]] = []
    metrics: list[list[float]] = []
    blocks: list[list[list[float]]] = []
    for seed in seeds[:MOST_REPLICATES]:
        replicate = problem.replicate(seed)
        scales = replicate.target_scales
        rows: list[tuple[float, float, list[float]]] = []
        for column, task in enumerate(problem.tasks):
            if time.monotonic() - start > seconds:
                break
            scale = 1.0 if scales is None else float(scales[column])
            parts = [
                _column(part, column)
                for part in (replicate.training, replicate.validation, replicate.test)
            ]
            rows.append(_score(task, parts, scale, seed))
        if len(rows) < len(problem.tasks):
            break
        scores.append([row[0] for row in rows])
        metrics.append([row[1] for row in rows])
        blocks.append([_means(row[2], n_blocks) for row in rows])
    if not scores or bool(torch.tensor(scores).isnan().all()):
        return None
    longest = max(len(values) for replicate in blocks for values in replicate)
    padded = [
        [[*values, *[math.nan] * (longest - len(values))] for values in replicate]
        for replicate in blocks
    ]
    return Reference(
        BOOSTING,
        problem.names,
        torch.tensor(scores, dtype=torch.double),
        torch.tensor(metrics, dtype=torch.double),
        torch.tensor(padded, dtype=torch.double).reshape(len(scores), len(problem.tasks), longest),
        (time.monotonic() - start) / len(scores),
    )


def _score(
    task: Task, parts: Sequence[Examples], scale: float, seed: int
) -> tuple[float, float, list[float]]:
    """The score on test rows, the metric, and the scores on blocks of test rows."""
    training, validation, test = parts
    prediction = _boost(task, training, validation, test, seed)
    if prediction is None:
        return math.nan, math.nan, []
    target = test.targets[:, 0]
    metric = metric_of(task, prediction, target, scale)
    if task.is_judged_by_metric:
        return metric, metric, block_metrics(task, prediction, target, test.groups, scale)
    loss = losses_of([task], {task.name: prediction}, test)[task.name]
    return loss, metric, block_losses(task, prediction, target, test.groups)


def _boost(
    task: Task, training: Examples, validation: Examples, test: Examples, seed: int
) -> Float[Tensor, "row output"] | None:
    """Outputs on test rows as a network's: logits, or standardized numbers."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    if not isinstance(task.loss, BinaryCrossEntropy | CrossEntropy | SquaredError):
        return None
    training, validation = _labelled(training), _labelled(validation)
    labels = training.targets[:, 0].cpu().numpy()
    if len(np.unique(labels)) < 2 or not len(validation):
        return None
    inputs, others, tested = (
        part.inputs.double().cpu().numpy() for part in (training, validation, test)
    )
    if isinstance(task.loss, SquaredError):
        model = HistGradientBoostingRegressor(
            max_iter=MOST_ITERATIONS,
            early_stopping=False,  # pyright: ignore[reportArgumentType]
            random_state=seed % 2**31,
        ).fit(inputs, labels)
        staged = [model.staged_predict(rows) for rows in (others, tested)]
    else:
        weights = task.loss.weights
        row_weights = None if weights is None else np.array(weights)[labels.astype(int)]
        model = HistGradientBoostingClassifier(
            max_iter=MOST_ITERATIONS,
            early_stopping=False,  # pyright: ignore[reportArgumentType]
            random_state=seed % 2**31,
        ).fit(inputs, labels, row_weights)
        classes = model.classes_.astype(int)
        staged = [
            (_logits(task, probabilities, classes) for probabilities in stages)
            for stages in (model.staged_predict_proba(rows) for rows in (others, tested))
        ]

    def outputs(values: np.ndarray) -> Tensor:
        return torch.from_numpy(values.reshape(len(values), -1)).to(test.targets)

    losses = [float(task.loss(outputs(values), validation.targets[:, 0])) for values in staged[0]]
    best = int(np.argmin(losses))
    return next(outputs(values) for stage, values in enumerate(staged[1]) if stage == best)


def _logits(task: Task, probabilities: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Log-probabilities of all classes; a class without training rows gets a small one."""
    n_classes = 2 if output_of(task) == "binary" else task.n_outputs
    logs = np.full((len(probabilities), n_classes), math.log(1e-6))
    logs[:, classes] = np.log(np.clip(probabilities, 1e-6, 1))
    return logs[:, 1] - logs[:, 0] if output_of(task) == "binary" else logs


def _column(rows: Examples, column: int) -> Examples:
    return Examples(rows.inputs, rows.targets[:, column : column + 1], rows.groups)


def _labelled(rows: Examples) -> Examples:
    return rows.take((~rows.targets[:, 0].isnan()).nonzero().squeeze(1))


def _means(values: Sequence[float], n_blocks: int) -> list[float]:
    if not values:
        return []
    parts = torch.tensor(values, dtype=torch.double).tensor_split(min(n_blocks, len(values)))
    return [float(part.mean()) for part in parts]
