"""The common part of both estimators: audit the targets and keep the advised networks."""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal, TypeVar

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from sklearn.base import BaseEstimator, MultiOutputMixin
from sklearn.utils import check_array, check_consistent_length, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from affinity.audit import Audit, Race, retrain
from affinity.errors import InputError, check_choice, check_same
from affinity.estimates import InterTaskAffinity
from affinity.problems import Problem, record
from affinity.problems.arrays import check_rows, name_of_target
from affinity.problems.features import find_columns
from affinity.problems.problem import linear_heads
from affinity.problems.row_weights import row_weights
from affinity.problems.test_rows import group_numbers
from affinity.reading.source import check_column, to_pandas
from affinity.sharing import HardSharing, Perceptron
from affinity.tasks import Task
from affinity.training import Member, TrainedNetwork, TrainingSettings, train_members

from .rows import Fitted, Rows

FEWEST_ROWS = 10
T = TypeVar("T")
CandidateName = Literal["advice", "plan", "separate", "all-in-one"]


class TaskGrouped(MultiOutputMixin, BaseEstimator):
    """An estimator of several targets whose tasks subclasses name."""

    n_features_in_: int
    judge_by: Literal["loss", "metric"]

    def __init__(
        self,
        *,
        candidate: CandidateName = "advice",
        budget: int | None = None,
        trainings: int | None = None,
        replicates: int = 3,
        width: int = 64,
        depth: int = 2,
        epochs: int = 100,
        batch_size: int = 64,
        learning_rate: float = 2e-3,
        patience: int = 10,
        every: int = 5,
        metrics: Mapping[Any, str] | None = None,
        judge_by: Literal["loss", "metric"] = "loss",
        task_weights: Mapping[Any, float] | None = None,
        reference: bool = False,
        random_state: Any = None,
    ) -> None:
        self.candidate = candidate
        self.budget = budget
        self.trainings = trainings
        self.replicates = replicates
        self.width = width
        self.depth = depth
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.patience = patience
        self.every = every
        self.metrics = metrics
        self.judge_by = judge_by
        self.task_weights = task_weights
        self.reference = reference
        self.random_state = random_state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    def fit(
        self,
        X: Any,  # noqa: N803
        y: Any,
        groups: Any = None,
        sample_weight: Any = None,
    ) -> "TaskGrouped":
        """Find and audit which targets should share, and keep the networks of the candidate to use.

        Args:
            X: ``[row feature]``, finite numbers or NaN. A frame may also hold categories and
                dates. Frames, and gaps in arrays, are encoded as those of a table.
            y: ``[row target]``, or ``[row]`` for a single target, which is not audited. NaN or
                None is a missing label. The columns of a frame name the tasks of the audit.
            groups: ``[row]``, the group of each row (a patient, a user): rows of one group stay
                together in every split.
            sample_weight: ``[row]``, how much each row counts in training and in scores.

        Raises:
            InputError: If a setting is out of range, there are too few rows or groups, a target
                has no labels, or a weight is negative or missing.
        """
        choices = ("advice", "plan", "separate", "all-in-one")
        check_choice("the candidate", self.candidate, choices, "unknown-candidate")
        if isinstance(X, pd.DataFrame) and isinstance(y, pd.DataFrame | pd.Series):
            check_rows(X, y, "y")
        inputs, targets = self._validated(self._encoded(X, is_fit=True), y)
        if self.encoder_ is not None:
            self.n_features_in_ = to_pandas(X).shape[1]
        self.is_single_ = targets.ndim == 1
        self.target_names_ = _names_of(y, 1 if self.is_single_ else targets.shape[1])
        self.n_inputs_ = inputs.shape[1]
        weights = None if sample_weight is None else _weights_of(sample_weight, len(inputs))
        is_used = np.ones(len(inputs), bool) if weights is None else weights.numpy() > 0
        tasks, numbers = self._tasks(targets.reshape(len(inputs), -1), is_used)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        rows = Rows(
            inputs=torch.from_numpy(np.array(inputs, dtype=np.float64)),
            targets=torch.from_numpy(numbers),
            groups=None if groups is None else _group_numbers(groups, len(inputs)),
            weights=weights,
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
            self.audit_, trained = None, self._train_one(tasks[0], rows, settings, seed)
            seeds = Problem.replicate_seeds(self.replicates, seed)
        else:
            name = type(self).__name__
            problem = rows.problem(name, tasks, self.width, self.depth, settings).judged(
                metrics=self._by_name(self.metrics),
                by=self.judge_by,
                weights=self._by_name(self.task_weights),
            )
            self.audit_, trained = self._audit(problem, seed)
            seeds = Problem.replicate_seeds(self.replicates, seed + 1)
        statistics = [rows.statistics(rows.draw(each).training) for each in seeds]
        self.networks_ = [
            Fitted(
                statistics[each.replicate],
                self.target_names_,
                tuple(served),
                self._rebuilt(each, tasks),
            )
            for each, served in trained
        ]
        return self

    def _validated(self, X: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:  # noqa: N803
        """Inputs and targets as arrays; missing labels are NaN."""
        labels = None if y is None else np.asarray(y)
        is_missing = np.zeros(0, dtype=bool) if labels is None else np.asarray(pd.isna(labels))
        if labels is None or not is_missing.any():
            return validate_data(  # pyright: ignore[reportReturnType]
                self,
                X,
                labels,  # pyright: ignore[reportArgumentType]
                multi_output=True,
                ensure_min_samples=FEWEST_ROWS,
            )
        inputs: np.ndarray = validate_data(self, X, ensure_min_samples=FEWEST_ROWS)  # pyright: ignore[reportAssignmentType]
        labels = np.where(is_missing, np.nan, labels) if labels.dtype == object else labels
        targets = check_array(
            labels,
            dtype=None,  # pyright: ignore[reportArgumentType]
            ensure_2d=False,
            ensure_all_finite="allow-nan",  # pyright: ignore[reportArgumentType]
            input_name="y",  # pyright: ignore[reportArgumentType]
        )
        check_consistent_length(inputs, targets)
        columns = is_missing.reshape(len(targets), -1)
        if unlabelled := np.flatnonzero(columns.all(axis=0)).tolist():
            raise InputError(
                f"Expected labels in every target, but targets {unlabelled} have none.", "no-labels"
            )
        return inputs, targets

    def _encoded(self, X: Any, is_fit: bool = False) -> Any:  # noqa: N803
        """Numbers; columns with anything else, or with gaps, are encoded as a table's."""
        if is_fit:
            self.encoder_ = None
            if _holds_more_than_numbers(X):
                frame = to_pandas(X).rename(columns=str)
                columns = find_columns(frame)
                rows = columns.read(frame)
                self.encoder_ = columns, columns.transformer(rows).fit(rows)
        if self.encoder_ is None:
            return X
        columns, transformer = self.encoder_
        if not is_fit and not hasattr(X, "columns"):
            validate_data(self, X, reset=False, skip_check_array=True)
        frame = to_pandas(X).rename(columns=str)
        for name in columns.formats:
            check_column(name, frame.columns)
        return transformer.transform(columns.read(frame))

    def _mean_score(
        self,
        metric: Callable[..., float],
        X: Any,  # noqa: N803
        y: Any,
        sample_weight: Any,
    ) -> float:
        """A metric of each target over its labelled rows, averaged over the targets."""
        truth = np.asarray(y).reshape(len(y), -1)
        predicted = np.asarray(self.predict(X)).reshape(truth.shape)
        weights = np.ones(len(truth)) if sample_weight is None else np.asarray(sample_weight)
        is_known = ~np.asarray(pd.isna(truth))
        scores = [
            metric(truth[rows, column], predicted[rows, column], sample_weight=weights[rows])
            for column, rows in enumerate(is_known.T)
        ]
        return float(np.mean(scores))

    def _by_name(self, values: Mapping[Any, T] | None) -> dict[str, T]:
        """Values by the names of targets, where they are given by number."""
        names = self.target_names_
        return {name_of_target(key, names): value for key, value in (values or {}).items()}

    @abstractmethod
    def predict(self, X: Any) -> np.ndarray:  # noqa: N803
        """Predictions ``[row target]``, or ``[row]`` for a single target."""

    @abstractmethod
    def _tasks(
        self, targets: np.ndarray, is_used: np.ndarray
    ) -> tuple[tuple[Task, ...], np.ndarray]:
        """The tasks, and their targets ``[row task]`` as floats; NaN in rows that are not used."""

    def _audit(
        self, problem: Problem, seed: int
    ) -> tuple[Audit, list[tuple[TrainedNetwork, frozenset[str]]]]:
        matrix = InterTaskAffinity()(record(problem, every=self.every, seed=seed))
        trainings = 4 * len(problem.tasks) if self.trainings is None else self.trainings
        race = Race(budget=self.budget, trainings=trainings, seed=seed + 2)
        plan = race(problem, [matrix]).to_plan()
        audit = retrain(
            plan,
            problem,
            self.replicates,
            seed=seed + 1,
            baselines=(),  # of other widths, or random: nothing to predict with
            matrix=matrix,
            keep=True,
            reference_seconds=60.0 if self.reference else 0.0,
        )
        name = audit.advice if self.candidate == "advice" else self.candidate
        networks = audit.candidates[name].plan.grouping.networks
        trained = [
            (each, network.served)
            for replicate in range(self.replicates)
            for each, network in zip(audit.networks_of(name, replicate), networks, strict=True)
        ]
        self.candidate_ = name
        return replace(audit, networks={}), trained

    def _train_one(
        self, task: Task, rows: Rows, settings: TrainingSettings, seed: int
    ) -> list[tuple[TrainedNetwork, frozenset[str]]]:
        alone = frozenset({task.name})
        results = train_members(
            lambda tasks: HardSharing(tasks, self._trunk, linear_heads(self.width)),
            (task,),
            [Member(alone, number) for number in range(self.replicates)],
            [rows.replicate(each) for each in Problem.replicate_seeds(self.replicates, seed)],
            settings,
            keep=True,
        )
        self.candidate_ = "separate"
        return [(each, alone) for each in results]

    def _trunk(self) -> Perceptron:
        return Perceptron(self.n_inputs_, width=self.width, depth=self.depth)

    def _rebuilt(self, trained: TrainedNetwork, tasks: tuple[Task, ...]) -> HardSharing:
        served = [task for task in tasks if task.name in trained.tasks]
        network = HardSharing(served, self._trunk, linear_heads(self.width))
        assert trained.state is not None
        network.load_state_dict(trained.state)
        return network.double().eval()  # doubles: a row alone is predicted as among others

    def _outputs(self, X: Any) -> dict[str, Float[Tensor, "row output"]]:  # noqa: N803
        """The output of each task's head, averaged over replicates, in the targets' own units."""
        check_is_fitted(self)
        inputs = self._encoded(X)
        if self.encoder_ is None:
            inputs = validate_data(
                self,
                X,
                reset=False,
                ensure_all_finite="allow-nan",  # pyright: ignore[reportArgumentType]
            )
        rows = torch.from_numpy(np.array(inputs, dtype=np.float64))
        sums: dict[str, Tensor] = {}
        for fitted in self.networks_:
            for name, value in fitted(rows).items():
                sums[name] = sums[name] + value if name in sums else value
        return {name: value / self.replicates for name, value in sums.items()}


def _holds_more_than_numbers(X: Any) -> bool:  # noqa: N803
    """Whether a frame holds anything but numbers, or an array of finite ones has gaps."""
    if hasattr(X, "columns"):
        frame = to_pandas(X)
        is_number = all(map(pd.api.types.is_numeric_dtype, frame.dtypes))
        return not is_number or bool(frame.isna().any(axis=None))
    values = np.asarray(X)
    is_table = values.dtype.kind == "f" and values.ndim == 2
    return is_table and bool(np.isnan(values).any() and not np.isinf(values).any())


def _names_of(y: Any, n_targets: int) -> tuple[str, ...]:
    """The names of a frame's columns, or of a series, or "target 0", "target 1", ..."""
    names = getattr(y, "columns", None)
    if names is None and getattr(y, "name", None) is not None:
        names = [y.name]
    named = [str(name) for name in names] if names is not None else []
    is_usable = len(named) == n_targets == len(set(named)) and all(named)
    return tuple(named) if is_usable else tuple(f"target {number}" for number in range(n_targets))


def _weights_of(sample_weight: Any, n_rows: int) -> Tensor:
    values = np.asarray(sample_weight)
    check_same("the shape of the weights", values.shape, (n_rows,), "weights-do-not-fit")
    return row_weights(pd.Series(values, name="sample_weight"))


def _group_numbers(groups: Any, n_rows: int) -> torch.Tensor:
    values = pd.Series(np.asarray(groups).ravel())
    check_same("the number of groups of rows", len(values), n_rows, "groups-do-not-fit")
    return group_numbers(values)
