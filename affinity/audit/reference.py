"""A reference that shares nothing: gradient boosting per task, on the same rows as the networks."""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from affinity.problems import Problem
from affinity.problems.problem import output_of
from affinity.statistics import Gains
from affinity.tasks import (
    BinaryCrossEntropy,
    CensoredDeviance,
    CrossEntropy,
    Examples,
    OrdinalCrossEntropy,
    PoissonDeviance,
    SquaredError,
    SquaredLogError,
    Task,
    VectorError,
    loss_on_labelled,
)
from affinity.training.judge import block_losses, block_metrics, losses_of, metric_of

BOOSTING = "gradient boosting"
MOST_REPLICATES = 3
MOST_ITERATIONS = 100
_Predict = Callable[[np.ndarray], Iterable[np.ndarray]]  # inputs to outputs by number of trees


@dataclass(frozen=True, eq=False)
class Reference:
    """Test scores of scikit-learn's histogram gradient boosting, trained per task."""

    name: str  # what it is called in tables
    tasks: tuple[str, ...]
    # as those of the networks; NaN for a loss that boosting does not support
    scores: Float[Tensor, "replicate task"]
    metrics: Float[Tensor, "replicate task"]
    # scores on blocks of test rows; NaN beyond the blocks of a task
    blocks: Float[Tensor, "replicate task block"]
    seconds: float  # per replicate

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
    """Boost each task on the first replicates, at most `MOST_REPLICATES`.

    A model learns from the training rows; the validation rows decide on the number of trees, as
    they decide when a network stops. No model and no replicate is begun that would not end within
    `seconds` if it took as long as those before; a replicate that is not complete is left out. None
    if no replicate was complete, inputs are no table, or boosting supports no task's loss.
    """
    if problem.development.inputs.ndim != 2:
        return None
    start = time.monotonic()
    scores: list[list[float]] = []
    metrics: list[list[float]] = []
    blocks: list[list[list[float]]] = []
    for seed in seeds[:MOST_REPLICATES]:
        if scores and (time.monotonic() - start) * (1 + 1 / len(scores)) > seconds:
            break
        replicate = problem.replicate(seed)
        scales = replicate.target_scales
        rows: list[tuple[float, float, list[float]]] = []
        for column, task in enumerate(problem.tasks):
            spent = time.monotonic() - start
            done = len(scores) * len(problem.tasks) + column
            of_model = spent / done if done else 0.0
            of_first = of_model * len(problem.tasks) if column >= 5 and not scores else 0.0
            if max(spent + of_model, of_first) > seconds:
                break
            scale = 1.0 if scales is None else float(scales[column])
            parts = [
                part.with_targets(part.targets[:, column : column + 1])
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
    metric = metric_of(task, prediction, target, scale, test.weights)
    if task.is_judged_by_metric:
        blocks = block_metrics(task, prediction, target, test.groups, scale, test.weights)
        return metric, metric, blocks
    loss = losses_of([task], {task.name: prediction}, test)[task.name]
    return loss, metric, block_losses(task, prediction, target, test.groups, test.weights)


def _boost(
    task: Task, training: Examples, validation: Examples, test: Examples, seed: int
) -> Float[Tensor, "row output"] | None:
    """Outputs on test rows as a network's, of the number of trees that is best on validation."""
    training, validation = _labelled(training), _labelled(validation)
    if not len(validation):
        return None
    predict = _fit(task, training, seed)
    if predict is None:
        return None

    def stages(rows: Examples) -> Iterator[Tensor]:
        for values in predict(rows.inputs.double().cpu().numpy()):
            yield torch.from_numpy(values.reshape(len(values), -1)).to(test.targets)

    truth = validation.targets[:, 0], validation.weights
    losses = [float(loss_on_labelled(task.loss, outputs, *truth)) for outputs in stages(validation)]
    return next(islice(stages(test), int(np.argmin(losses)), None))


def _fit(task: Task, training: Examples, seed: int) -> _Predict | None:
    """Boost a task; outputs are logits, numbers or logarithms, as a network's.

    None if its loss is another one, or its labels do not vary.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    loss, target = task.loss, training.targets[:, 0]
    labels = target.double().cpu().numpy()
    inputs = training.inputs.double().cpu().numpy()
    weights = None if training.weights is None else training.weights.double().cpu().numpy()
    if len(np.unique(labels)) < 2:
        return None

    def regress(
        numbers: np.ndarray, name: str = "squared_error", weights: np.ndarray | None = weights
    ) -> HistGradientBoostingRegressor:
        model = HistGradientBoostingRegressor(
            loss=name,  # pyright: ignore[reportArgumentType]
            max_iter=MOST_ITERATIONS,
            early_stopping=False,  # pyright: ignore[reportArgumentType]
            random_state=seed % 2**31,
        )
        return model.fit(inputs, numbers, weights)

    if isinstance(loss, SquaredError):
        return regress(labels).staged_predict
    if isinstance(loss, SquaredLogError):
        return regress(np.log(labels)).staged_predict
    if isinstance(loss, VectorError):
        models = [regress(numbers) for numbers in loss.of(target).double().cpu().numpy().T]
        return lambda rows: map(
            np.column_stack, zip(*(model.staged_predict(rows) for model in models), strict=True)
        )
    if isinstance(loss, PoissonDeviance | CensoredDeviance):
        if isinstance(loss, PoissonDeviance):
            model = regress(labels, "poisson")
        elif (labels > 0).any():  # events per time, as counts that are observed for that time
            times = np.abs(labels)
            rates = (labels > 0) / times
            model = regress(rates, "poisson", times if weights is None else weights * times)
        else:
            return None
        return lambda rows: (np.log(np.maximum(each, 1e-12)) for each in model.staged_predict(rows))
    if not isinstance(loss, BinaryCrossEntropy | CrossEntropy | OrdinalCrossEntropy):
        return None
    if not isinstance(loss, OrdinalCrossEntropy) and loss.weights is not None:
        of_class = np.array(loss.weights)[labels.astype(int)]
        weights = of_class if weights is None else weights * of_class
    classifier = HistGradientBoostingClassifier(
        max_iter=MOST_ITERATIONS,
        early_stopping=False,  # pyright: ignore[reportArgumentType]
        random_state=seed % 2**31,
    ).fit(inputs, labels, weights)
    classes = classifier.classes_.astype(int)
    return lambda rows: (
        _logits(task, probabilities, classes)
        for probabilities in classifier.staged_predict_proba(rows)
    )


def _logits(task: Task, probabilities: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Outputs of a network with these probabilities; an absent class gets a small one."""
    output = output_of(task)
    n_classes = {"binary": 2, "ordinal": task.n_outputs + 1}.get(output, task.n_outputs)
    full = np.full((len(probabilities), n_classes), 1e-6)
    full[:, classes] = np.clip(probabilities, 1e-6, 1)
    if output == "classes":
        return np.log(full)
    above = full[:, ::-1].cumsum(axis=1)[:, ::-1][:, 1:]  # of each threshold
    below = full.cumsum(axis=1)[:, :-1]
    return np.log(above) - np.log(below)


def _labelled(rows: Examples) -> Examples:
    return rows.take((~rows.targets[:, 0].isnan()).nonzero().squeeze(1))


def _means(values: Sequence[float], n_blocks: int) -> list[float]:
    if not values:
        return []
    parts = torch.tensor(values, dtype=torch.double).tensor_split(min(n_blocks, len(values)))
    return [float(part.mean()) for part in parts]
