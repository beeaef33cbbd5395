"""scikit-learn's door: estimators that find out which targets should share a network."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from sklearn.base import BaseEstimator, ClassifierMixin, MultiOutputMixin, RegressorMixin
from sklearn.metrics import accuracy_score
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from affinity.audit import Audit, retrain
from affinity.errors import InputError
from affinity.estimates import InterTaskAffinity
from affinity.grouping import solve
from affinity.problems import Problem, RandomRows, TableParts, record
from affinity.problems.problem import linear_heads
from affinity.recommendation import recommend
from affinity.sharing import HardSharing, Perceptron
from affinity.tasks import Accuracy, CrossEntropy, Examples, Replicate, RSquared, SquaredError, Task
from affinity.training import Member, Trained, TrainingSettings, train_members

FEWEST_ROWS = 10
Arrangement = Literal["advice", "plan", "separate", "all-in-one"]


class _TaskGrouped(MultiOutputMixin, BaseEstimator):
    n_features_in_: int

    def __init__(
        self,
        *,
        arrangement: Arrangement = "advice",
        budget: int | None = None,
        replicates: int = 3,
        width: int = 64,
        depth: int = 2,
        epochs: int = 100,
        batch_size: int = 64,
        learning_rate: float = 2e-3,
        patience: int = 10,
        every: int = 5,
        random_state: Any = None,
    ) -> None:
        self.arrangement = arrangement
        self.budget = budget
        self.replicates = replicates
        self.width = width
        self.depth = depth
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.patience = patience
        self.every = every
        self.random_state = random_state

    def fit(self, X: Any, y: Any) -> "_TaskGrouped":  # noqa: N803
        """Audit which targets should share, and keep the networks of the arrangement to use.

        Args:
            X: ``[row feature]``, finite numbers.
            y: ``[row target]``, or ``[row]`` for a single target, which there is nothing to audit
                for.

        Raises:
            InputError: If a setting is out of range, or there are too few rows.
        """
        choices = ("advice", "plan", "separate", "all-in-one")
        if self.arrangement not in choices:
            raise InputError(
                f"Expected an arrangement among {list(choices)}, but got {self.arrangement!r}."
            )
        checked: tuple[np.ndarray, np.ndarray] = validate_data(  # pyright: ignore[reportAssignmentType]
            self, X, y, multi_output=True, ensure_min_samples=FEWEST_ROWS
        )
        inputs, targets = checked
        self.is_single_ = targets.ndim == 1
        tasks, numbers = self._tasks(targets.reshape(len(inputs), -1))
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        problem = _Rows(
            inputs=torch.from_numpy(np.array(inputs, dtype=np.float64)),
            targets=torch.from_numpy(numbers),
            is_number=tasks[0].n_outputs == 1,
            seed=seed,
        )
        settings = TrainingSettings(
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            patience=self.patience,
        )
        if len(tasks) == 1:
            self.audit_, trained = None, self._train_one(tasks[0], problem, settings, seed)
            seeds = Problem.replicate_seeds(self.replicates, seed)
        else:
            self.audit_, trained = self._audit(problem.problem(tasks, self, settings), seed)
            seeds = Problem.replicate_seeds(self.replicates, seed + 1)
        statistics = [problem.statistics(problem.draw(each)) for each in seeds]
        self.networks_ = [
            _Fitted(statistics[each.replicate], tuple(served), self._rebuilt(each, tasks))
            for each, served in trained
        ]
        return self

    @abstractmethod
    def _tasks(self, targets: np.ndarray) -> tuple[tuple[Task, ...], np.ndarray]:
        """The tasks, and their targets ``[row task]`` as floats."""

    def _audit(
        self, problem: Problem, seed: int
    ) -> tuple[Audit, list[tuple[Trained, frozenset[str]]]]:
        matrix = InterTaskAffinity()(record(problem, every=self.every, seed=seed))
        budget = self.budget if self.budget is not None else max(2, -(-len(problem.tasks) // 3))
        whole = replace(matrix, values=matrix.values.nan_to_num(nan=0.0))
        plan = recommend(matrix, solve(whole, budget=budget))
        audit = retrain(
            plan,
            problem,
            self.replicates,
            seed=seed + 1,
            baselines=(),  # of other widths, or random: nothing to predict with
            matrix=matrix,
            keep=True,
        )
        name = audit.advice if self.arrangement == "advice" else self.arrangement
        networks = audit.arrangements[name].plan.grouping.networks
        trained = [
            (each, network.served)
            for replicate in range(self.replicates)
            for each, network in zip(audit.networks_of(name, replicate), networks, strict=True)
        ]
        self.arrangement_ = name
        return replace(audit, trained={}), trained

    def _train_one(
        self, task: Task, rows: "_Rows", settings: TrainingSettings, seed: int
    ) -> list[tuple[Trained, frozenset[str]]]:
        alone = frozenset({task.name})
        results = train_members(
            lambda tasks: HardSharing(tasks, self._trunk, linear_heads(self.width)),
            (task,),
            [Member(alone, number) for number in range(self.replicates)],
            [rows.replicate(each) for each in Problem.replicate_seeds(self.replicates, seed)],
            settings,
            keep=True,
        )
        self.arrangement_ = "separate"
        return [(each, alone) for each in results]

    def _trunk(self) -> Perceptron:
        return Perceptron(self.n_features_in_, width=self.width, depth=self.depth)

    def _rebuilt(self, trained: Trained, tasks: tuple[Task, ...]) -> HardSharing:
        own = [task for task in tasks if task.name in trained.tasks]
        network = HardSharing(own, self._trunk, linear_heads(self.width))
        assert trained.state is not None
        network.load_state_dict(trained.state)
        return network.double().eval()  # doubles: a row alone is predicted as among others

    def _outputs(self, X: Any) -> dict[str, Float[Tensor, "row output"]]:  # noqa: N803
        """Mean over the replicates of what each task's head says, in the targets' own units."""
        check_is_fitted(self)
        rows = torch.from_numpy(np.array(validate_data(self, X, reset=False), dtype=np.float64))
        sums: dict[str, Tensor] = {}
        for fitted in self.networks_:
            for name, value in fitted(rows).items():
                sums[name] = sums[name] + value if name in sums else value
        return {name: value / self.replicates for name, value in sums.items()}


class TaskGroupedRegressor(RegressorMixin, _TaskGrouped):
    """Regression of several targets, sharing networks where the audit says that it pays.

    `fit` sets a fifth of the rows aside, records one multi-task run, groups the targets, and
    measures the plan beside separate networks and all-in-one on `replicates` resamplings. The
    networks of the advised arrangement predict, averaged over the replicates. A single target is
    trained on its own, without an audit.

    Args:
        arrangement: Which networks predict: what the audit advises, or always the plan, separate
            networks or all-in-one.
        budget: Networks at most; a third of the targets and at least two if None.
        replicates: Resamplings of rows and seeds; all of them predict.
        width: Width of the trunk.
        depth: Layers of the trunk.
        epochs: Epochs at most.
        batch_size: Rows a step.
        learning_rate: Step size of Adam.
        patience: Epochs without progress before stopping.
        every: Measure affinity every so many steps.
        random_state: Decides all random numbers.

    Attributes:
        audit_: The audit; None for a single target.
        arrangement_: The arrangement in use.

    Example:
        >>> import numpy as np
        >>> X = np.random.default_rng(0).normal(size=(200, 3))
        >>> Y = np.column_stack([X[:, 0], X[:, 0] + X[:, 1], -X[:, 2]])
        >>> model = TaskGroupedRegressor(width=16, replicates=2, random_state=0).fit(X, Y)
        >>> model.predict(X).shape, model.score(X, Y) > 0.8
        ((200, 3), True)
    """

    def predict(self, X: Any) -> np.ndarray:  # noqa: N803
        """Predictions ``[row target]``, or ``[row]`` for a single target."""
        outputs = self._outputs(X)
        columns = [outputs[f"target {at}"][:, 0].numpy() for at in range(len(outputs))]
        return columns[0] if self.is_single_ else np.column_stack(columns)

    def _tasks(self, targets: np.ndarray) -> tuple[tuple[Task, ...], np.ndarray]:
        tasks = tuple(
            Task(f"target {at}", SquaredError(), RSquared()) for at in range(targets.shape[1])
        )
        return tasks, targets.astype(np.float64)


class TaskGroupedClassifier(ClassifierMixin, _TaskGrouped):
    """Classification of several targets, sharing networks where the audit says that it pays.

    As `TaskGroupedRegressor`, with probabilities averaged over the replicates.

    Attributes:
        audit_: The audit; None for a single target.
        arrangement_: The arrangement in use.
        classes_: The classes; a list, one array a target, where there are several.

    Example:
        >>> import numpy as np
        >>> X = np.random.default_rng(0).normal(size=(200, 3))
        >>> Y = np.where(X[:, :2] > 0, "high", "low")
        >>> model = TaskGroupedClassifier(width=16, replicates=2, random_state=0).fit(X, Y)
        >>> model.predict(X)[0].tolist() == Y[0].tolist(), model.score(X, Y) > 0.9
        (True, True)
    """

    def predict(self, X: Any) -> np.ndarray:  # noqa: N803
        """Classes ``[row target]``, or ``[row]`` for a single target."""
        probabilities = self.predict_proba(X)
        if self.is_single_:
            return self.classes_[probabilities.argmax(axis=1)]
        return np.column_stack(
            [
                classes[each.argmax(axis=1)]
                for classes, each in zip(self.classes_, probabilities, strict=True)
            ]
        )

    def predict_proba(self, X: Any) -> Any:  # noqa: N803
        """Probabilities ``[row class]``; a list of them, one a target, where there are several."""
        outputs = self._outputs(X)
        each = [outputs[f"target {at}"].numpy() for at in range(len(outputs))]
        return each[0] if self.is_single_ else each

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:  # noqa: N803
        """Accuracy, a mean over the targets."""
        truth = np.asarray(y).reshape(len(y), -1)
        guess = np.asarray(self.predict(X)).reshape(len(y), -1)
        return float(
            np.mean(
                [
                    accuracy_score(truth[:, at], guess[:, at], sample_weight=sample_weight)
                    for at in range(truth.shape[1])
                ]
            )
        )

    def _tasks(self, targets: np.ndarray) -> tuple[tuple[Task, ...], np.ndarray]:
        for at in range(targets.shape[1]):
            check_classification_targets(targets[:, at])
        found = [np.unique(column, return_inverse=True) for column in targets.T]
        for at, (classes, _) in enumerate(found):
            if len(classes) < 2:
                raise InputError(
                    f"Expected at least two classes in target {at}, but got one class: "
                    f"{classes.tolist()}."
                )
        self.classes_ = found[0][0] if self.is_single_ else [classes for classes, _ in found]
        tasks = tuple(
            Task(f"target {at}", CrossEntropy(), Accuracy(), n_outputs=len(classes))
            for at, (classes, _) in enumerate(found)
        )
        return tasks, np.column_stack([numbers for _, numbers in found]).astype(np.float64)


@dataclass(frozen=True, eq=False)
class _Statistics:
    """Means and deviations of a replicate's training rows."""

    input_mean: Tensor
    input_scale: Tensor
    target_mean: Tensor
    target_scale: Tensor
    is_number: bool


@dataclass(frozen=True, eq=False)
class _Rows:
    """Rows of arrays as a problem whose statistics come from training rows alone."""

    inputs: Float[Tensor, "row feature"]
    targets: Float[Tensor, "row task"]
    is_number: bool
    seed: int

    @property
    def parts(self) -> tuple[Tensor, Tensor]:
        """Development and test rows."""
        everything = Examples(inputs=self.inputs, targets=self.targets)
        draw = RandomRows(0.2, evaluation_share=0.0)(everything, self.seed)
        return draw.training, draw.validation

    def draw(self, seed: int) -> Int[Tensor, " training"]:
        development, _ = self.parts
        everything = Examples(inputs=self.inputs, targets=self.targets)
        return RandomRows()(everything.take(development), seed).training

    def statistics(self, training: Int[Tensor, " training"]) -> _Statistics:
        rows = self.parts[0][training]
        inputs, targets = self.inputs[rows], self.targets[rows]
        return _Statistics(
            input_mean=inputs.mean(dim=0),
            input_scale=_scale(inputs),
            target_mean=targets.mean(dim=0) if self.is_number else targets.new_zeros(1),
            target_scale=_scale(targets) if self.is_number else targets.new_ones(1),
            is_number=self.is_number,
        )

    def encode(self, training: Int[Tensor, " training"]) -> tuple[Examples, Examples]:
        found = self.statistics(training)
        scaled = Examples(
            inputs=((self.inputs - found.input_mean) / found.input_scale).float(),
            targets=((self.targets - found.target_mean) / found.target_scale).float(),
        )
        development, test = self.parts
        return scaled.take(development), scaled.take(test)

    def replicate(self, seed: int) -> Replicate:
        development, _ = self.parts
        everything = Examples(inputs=self.inputs, targets=self.targets)
        draw = RandomRows()(everything.take(development), seed)
        encoded, test = self.encode(draw.training)
        return Replicate(
            seed=seed,
            training=encoded.take(draw.training),
            validation=encoded.take(draw.validation),
            test=test,
            evaluation=encoded.take(draw.evaluation),
        )

    def problem(
        self, tasks: tuple[Task, ...], estimator: _TaskGrouped, settings: TrainingSettings
    ) -> Problem:
        development, test = self.parts
        everything = Examples(inputs=self.inputs.float(), targets=self.targets.float())
        parts = TableParts(estimator.n_features_in_, estimator.depth)
        trunk, head = parts(estimator.width)
        return Problem(
            name=type(estimator).__name__,
            tasks=tasks,
            development=everything.take(development),
            test=everything.take(test),
            trunk=trunk,
            head=head,
            encoder=self.encode,
            settings=settings,
            width=estimator.width,
            parts=parts,
        )


@dataclass(frozen=True, eq=False)
class _Fitted:
    """A trained network, with what its rows were scaled by and the tasks that it serves."""

    statistics: _Statistics
    served: tuple[str, ...]
    network: HardSharing

    def __call__(self, rows: Float[Tensor, "row feature"]) -> Mapping[str, Tensor]:
        found = self.statistics
        with torch.no_grad():
            outputs = self.network((rows - found.input_mean) / found.input_scale)
        served = {name: outputs[name] for name in self.served}
        if not found.is_number:
            return {name: logits.softmax(dim=1) for name, logits in served.items()}
        at = {name: int(name.removeprefix("target ")) for name in served}
        return {
            name: value * found.target_scale[at[name]] + found.target_mean[at[name]]
            for name, value in served.items()
        }


def _scale(values: Float[Tensor, "row column"]) -> Float[Tensor, " column"]:
    deviation = values.std(dim=0, correction=0)
    return deviation.where(deviation > 0, 1.0)
