"""A multi-task problem: tasks, rows, and the network they may share."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import InitVar, dataclass, field, replace
from importlib import import_module
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from affinity.errors import InputError, check_known, check_number, check_same
from affinity.reading import DataNote
from affinity.sharing import (
    SHARINGS,
    HardSharing,
    Sharing,
    SharingMethod,
    find_trunk,
    match_parameters,
)
from affinity.tasks import (
    Accuracy,
    BinaryCrossEntropy,
    CensoredDeviance,
    CrossEntropy,
    Examples,
    NamedMetric,
    OrdinalCrossEntropy,
    PoissonDeviance,
    Replicate,
    RocAuc,
    RSquared,
    SquaredLogError,
    Task,
    VectorError,
    VectorRSquared,
    check_names,
    takes_stacks,
)
from affinity.tasks.losses import balanced
from affinity.tasks.named_metric import Output
from affinity.training import TrainingSettings
from affinity.training.device import move_rows

from .arrays import join_arrays, name_of_target, vector_kinds
from .column_use import ColumnUse
from .label_counts import SPLITS, LabelCounts, count_labels
from .resampling import Draw, RandomRows, Resampling

Encoder = Callable[[Int[Tensor, " row"]], tuple[Examples, Examples]]
"""Development and test rows, encoded with statistics of these training rows alone."""


@runtime_checkable
class Standardizing(Protocol):
    """An encoder that standardizes targets."""

    def target_scales(self, training: Int[Tensor, " row"]) -> Float[Tensor, " task"]:
        """The unit of each standardized target, from statistics of these training rows."""
        ...


WEIGHTED = (Accuracy, NamedMetric, RocAuc, RSquared, VectorRSquared)  # metrics with weights of rows
Parts = tuple[Callable[[], nn.Module], Callable[[Task], nn.Module]]  # makes a trunk, and its heads


@dataclass(frozen=True)
class DataSource:
    """Where the data of a problem came from, for reports and for comparing runs.

    Args:
        name: File, data set or recipe (with its settings).
        fingerprint: Hash of a table's names and values; None for built-in problems.
        rows: Rows of the table, before anything is left out.
        layout: Wide (one column per target) or long (each row belongs to one task).
        features: Inputs of a network per row.
        columns: What was done with each column.
        kinds: Kind of each target, as ``kinds`` of `load_table` names it.

    Example:
        >>> from affinity.problems import load_digits
        >>> load_digits().source.name
        'sklearn.datasets.load_digits'
    """

    name: str = ""
    fingerprint: str | None = None
    rows: int | None = None
    layout: Literal["wide", "long"] | None = None
    features: int | None = None
    columns: tuple[ColumnUse, ...] = ()
    kinds: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, eq=False)
class Problem:
    """Tasks with development and test rows, and a trunk and heads to train.

    Test rows are held out: `replicate` draws training, validation and selection rows from the
    development rows; only audits use the test rows.

    Args:
        tasks: The tasks, in the order of the targets' columns.
        development: Rows for training and validation.
        test: Held-out rows that audits evaluate on.
        trunk: Makes the module that tasks may share.
        head: Makes the head of a task, on the trunk's output.
        encoder: Encodes all rows with statistics of the training rows of a replicate; None if the
            inputs need no encoding.
        resampling: Draws the rows of a replicate.
        width: Width of the trunk, if `parts` is given.
        parts: Trunk and heads of any width, so that networks can be compared at equal size.
        notes: Remarks on the data for the report.
        device: Where networks are trained (`TrainingSettings.device`); that of `settings` if None.
            The problem's rows are kept on the CPU.

    Raises:
        InputError: If tasks, targets and rows do not fit each other.

    Example:
        >>> from affinity.problems import load_digits
        >>> problem = load_digits()
        >>> problem.names[:3]
        ('odd', 'at least 5', 'prime')
    """

    name: str
    tasks: tuple[Task, ...]
    development: Examples
    test: Examples
    trunk: Callable[[], nn.Module]
    head: Callable[[Task], nn.Module]
    encoder: Encoder | None = None
    resampling: Resampling = field(default_factory=RandomRows)
    settings: TrainingSettings = field(default_factory=TrainingSettings)
    width: int | None = None
    parts: Callable[[int], Parts] | None = None
    notes: tuple[DataNote, ...] = ()
    source: DataSource = field(default_factory=DataSource)
    device: InitVar[str | None] = None

    def __post_init__(self, device: str | None) -> None:
        if device is not None:
            object.__setattr__(self, "settings", replace(self.settings, device=device))
        for part in ("development", "test"):
            examples: Examples = getattr(self, part)
            if examples.inputs.device.type != "cpu" or examples.targets.device.type != "cpu":
                object.__setattr__(self, part, move_rows(examples, torch.device("cpu")))
        check_names(self.names)
        check_number("the number of tasks", len(self.tasks), "too-few-tasks", least=2)
        for part, examples in (("development", self.development), ("test", self.test)):
            columns = f"the number of columns of {part} targets"
            check_same(columns, examples.targets.shape[1], len(self.tasks), "targets-do-not-fit")
            unlabelled = [
                name
                for name, has_label in zip(
                    self.names, examples.labelled.any(dim=0).tolist(), strict=True
                )
                if not has_label
            ]
            unweighted = [
                task.name
                for task in self.tasks
                if not takes_stacks(task.loss) or not isinstance(task.metric, WEIGHTED)
            ]
            if examples.weights is not None and unweighted:
                raise InputError(
                    f"Expected losses and metrics of affinity.tasks for rows with weights, but "
                    f"those of {unweighted} take no weights.",
                    "loss-without-weights",
                )
            if unlabelled:
                raise InputError(
                    f"Expected labels for every task among the {len(examples)} {part} rows, but "
                    f"{unlabelled} have none.",
                    "no-labels",
                )

    @classmethod
    def from_arrays(cls, X: Any, Y: Any, **options: Any) -> "Problem":  # noqa: N803
        """Inputs and targets as a problem, read and split as a table is (`load_table`).

        Args:
            X: Inputs ``[row column]``: an array, a tensor, or a frame of pandas, polars, Arrow or
                Hugging Face datasets. Numbers, dates and categories; values may be missing.
            Y: Targets ``[row task]``, equally; NaN or None is a missing label. Columns name the
                tasks, else they are called ``target 0``, ``target 1``, ... Or a mapping of names
                to targets, ``[row]``, or ``[row component]`` for a vector. Or the names of columns
                of X.
            **options: Those of `load_table`, such as ``groups=``, ``sample_weight=``, ``kinds=``.

        Raises:
            InputError: If X and Y are no tables, differ in their rows, or as in `load_table`.

        Example:
            >>> inputs, targets = torch.rand(40, 3), torch.rand(40, 2)
            >>> Problem.from_arrays(inputs, targets).names
            ('target 0', 'target 1')
        """
        load_table = import_module("affinity.problems.table").load_table  # it imports this file
        frame, columns = join_arrays(X, Y)
        names = list(columns)
        chosen = {
            name_of_target(name, names): kind
            for name, kind in (options.pop("kinds", None) or {}).items()
        }
        return load_table(frame, names, kinds={**vector_kinds(columns), **chosen}, **options)

    @property
    def names(self) -> tuple[str, ...]:
        """The tasks' names, in order."""
        return tuple(task.name for task in self.tasks)

    def network(self, tasks: Iterable[Task] | None = None) -> HardSharing:
        """A fresh network with one trunk under the head of each of these tasks, or of all."""
        return HardSharing(self.tasks if tasks is None else tasks, self.trunk, self.head).cpu()

    def draw(self, seed: int) -> Draw:
        """Which development rows a replicate uses, and what for."""
        return self.resampling(self.development, seed)

    def replicate(self, seed: int) -> Replicate:
        """A fresh draw of the development rows, and the test rows."""
        draw = self.draw(seed)
        development, test = (
            self.encoder(draw.training) if self.encoder else (self.development, self.test)
        )
        return Replicate(
            seed=seed,
            training=development.view(draw.training),
            validation=development.view(draw.validation),
            test=test,
            evaluation=development.view(draw.evaluation),
            target_scales=self.encoder.target_scales(draw.training)
            if isinstance(self.encoder, Standardizing)
            else None,
        )

    def replicates(self, count: int, seed: int = 0) -> list[Replicate]:
        """`count` replicates whose seeds follow `seed`."""
        return [self.replicate(each) for each in self.replicate_seeds(count, seed)]

    @staticmethod
    def replicate_seeds(count: int, seed: int = 0) -> list[int]:
        """The seeds of these replicates."""
        return [seed * 1_000_003 + number for number in range(count)]

    def judged(
        self,
        *,
        metrics: Mapping[str, str] | None = None,
        by: Literal["loss", "metric"] = "loss",
        weights: Mapping[str, float] | None = None,
        class_weight: Literal["balanced"] | None = None,
    ) -> "Problem":
        """The same problem with other metrics, judged by them or by the losses, with weights.

        Args:
            metrics: Metric by task, a name in `affinity.tasks.METRICS`; the others keep theirs.
            by: Whether networks are compared by the loss or by the metric of their tasks.
            weights: Weight by task in means over tasks; 1 if not given.
            class_weight: ``"balanced"``: the rows of each class have the same total weight in the
                loss, in training and where networks are compared by it.

        Raises:
            InputError: If a task or a metric is unknown, or a weight is not above 0.

        Example:
            >>> from affinity.problems import load_digits
            >>> problem = load_digits().judged(metrics={"odd": "average_precision"}, by="metric")
            >>> problem.tasks[0].metric.name, problem.tasks[0].score.direction
            ('average_precision', 'maximize')
        """
        metrics, weights = metrics or {}, weights or {}
        check_tasks_are_known(self.names, {*metrics, *weights})
        tasks: list[Task] = []
        for column, task in enumerate(self.tasks):
            if class_weight == "balanced":
                rows = self.development
                loss = balanced(task.loss, rows.targets[:, column], rows.weights)
                task = replace(task, loss=loss)
            if task.name in metrics:
                metric = NamedMetric.of(metrics[task.name], output_of(task), task.name)
                task = replace(task, metric=metric, higher_is_better=metric.higher_is_better)
            tasks.append(replace(task, judge_by=by, weight=weights.get(task.name, task.weight)))
        return replace(self, tasks=tuple(tasks))

    def label_counts(self, seed: int = 0) -> tuple[LabelCounts, ...]:
        """How many labels of each task the splits of the replicate with this seed hold.

        Example:
            >>> from affinity.problems import load_digits
            >>> load_digits().label_counts()[0].minority["test"]
            227
        """
        draw = self.draw(seed)
        parts = (draw.training, draw.validation, draw.evaluation)
        splits = [*(self.development.view(rows) for rows in parts), self.test]
        return count_labels(self.tasks, dict(zip(SPLITS, splits, strict=True)))

    def with_settings(self, settings: TrainingSettings) -> "Problem":
        """The same problem with other training settings."""
        return replace(self, settings=settings)

    def of_width(self, width: int) -> "Problem":
        """The same problem with trunks of another width.

        Raises:
            InputError: If the problem has no `parts`.

        Example:
            >>> from affinity.problems import load_digits
            >>> [sum(p.numel() for p in load_digits().of_width(w).trunk().parameters())
            ...  for w in (16, 32)]  # 65 w + (w + 1) w
            [1312, 3136]
        """
        if self.parts is None:
            raise InputError(
                f"Expected a problem whose trunk and heads can be made at other widths, but "
                f"{self.name!r} does not say how: give Problem its width= and parts=.",
                "fixed-width",
            )
        trunk, head = self.parts(width)
        return replace(self, width=width, trunk=trunk, head=head)

    def with_trunk(self, kind: str | type[nn.Module], depth: int | None = None) -> "Problem":
        """The same problem with trunks of another kind.

        Args:
            kind: A name in `affinity.sharing.TRUNKS`, or a class of your own at the top of a module
                (or its name, ``MODULE:CLASS``), called with the number of inputs, the width and
                the depth; it maps ``[row feature]`` to ``[row width]``.
            depth: Number of layers or blocks; as before if None.

        Raises:
            InputError: If the problem's trunks are not made by size (`TableParts`), or the class
                cannot be imported by name or does not make such a trunk.

        Example:
            >>> from affinity.problems import load_digits
            >>> load_digits().with_trunk("residual").trunk
            TableTrunk(n_features=64, width=32, depth=2, kind='residual')
        """
        if not isinstance(self.parts, TableParts) or self.width is None:
            raise InputError(
                f"Expected a problem with the trunk of a table, but {self.name!r} has its own: "
                "give Problem your trunk= and head=.",
                "fixed-trunk",
            )
        name = kind if isinstance(kind, str) else f"{kind.__module__}:{kind.__qualname__}"
        depth = depth or self.parts.depth
        parts = replace(self.parts, kind=name, depth=depth)
        find_trunk(name)
        problem = replace(self, parts=parts).of_width(self.width)
        try:
            with torch.random.fork_rng(), torch.no_grad():
                shape = tuple(problem.trunk()(self.development.inputs[:2]).shape)
        except (TypeError, RuntimeError, ValueError) as error:
            raise InputError(
                f"Expected {name!r} to make a trunk of {parts.n_features} inputs, width "
                f"{self.width} and depth {depth}, but it fails: {error}",
                "trunk-does-not-fit",
            ) from error
        where = f"the shape of what a trunk {name!r} of width {self.width} returns for 2 rows"
        check_same(where, tuple(shape), (2, self.width), "trunk-does-not-fit")
        return problem


def at_equal_size(problem: Problem, tasks: frozenset[str], sharing: str | SharingMethod) -> Problem:
    """The problem at the width at which a way to share has as many parameters as hard sharing.

    A mixture of experts has several trunks; soft sharing and cross-stitch have one per task. At the
    width of hard sharing they would be larger networks.

    Args:
        problem: Its width is that of hard sharing.
        sharing: A name in `SHARINGS`, or one of them with other settings.

    Raises:
        InputError: If the problem has a fixed width, or even width 1 has more than twice as many
            parameters.

    Example:
        >>> from affinity.problems import load_digits
        >>> narrow = at_equal_size(load_digits(), frozenset({"odd", "ink"}), "soft")
        >>> narrow.width  # 2 x (65 x 19 + 20 x 19 + 20) = 3270, to 65 x 32 + 33 x 32 + 66 = 3202
        19
    """
    network_tasks = tuple(task for task in problem.tasks if task.name in tasks)
    sample = problem.development.inputs[:2]

    def make(sharing: str | SharingMethod, sized: Problem) -> Sharing:
        method = SHARINGS[sharing] if isinstance(sharing, str) else sharing
        with torch.random.fork_rng():
            return method(network_tasks, sized.trunk, sized.head, sample)

    budget = sum(parameter.numel() for parameter in make("hard", problem).parameters())
    try:
        width = match_parameters(lambda width: make(sharing, problem.of_width(width)), budget)
    except InputError as error:
        if error.code != "budget-too-small":
            raise
        label = SHARINGS[sharing].label if isinstance(sharing, str) else sharing.label
        raise InputError(
            f"{error} The networks are too narrow for {label} at the size of hard sharing: choose "
            "a larger width (--width), or hard sharing.",
            error.code,
        ) from error
    return problem.of_width(width)


def check_tasks_are_known(tasks: Sequence[str], names: Collection[str]) -> None:
    """Check that names, such as those that metrics are given for, are names of tasks."""
    check_known("metrics and weights of tasks", names, tasks, "unknown-task")


def output_of(task: Task) -> Output:
    """What a network predicts for a task, by the loss."""
    if isinstance(task.loss, BinaryCrossEntropy):
        return "binary"
    if isinstance(task.loss, PoissonDeviance | SquaredLogError):
        return "positive"
    if isinstance(task.loss, OrdinalCrossEntropy):
        return "ordinal"
    if isinstance(task.loss, CensoredDeviance):
        return "censored"
    if isinstance(task.loss, VectorError):
        return "vector"
    return "classes" if isinstance(task.loss, CrossEntropy) else "regression"


def linear_heads(width: int) -> Callable[[Task], nn.Module]:
    """Heads of one linear layer on a representation of `width` numbers."""

    def head(task: Task) -> nn.Module:
        return nn.Linear(width, task.n_outputs)

    return head


def columns_of(targets: Sequence[Tensor]) -> Tensor:
    """Targets `[row]` stacked to `[row task]`, as floats."""
    return torch.stack([target.float() for target in targets], dim=1)


@dataclass(frozen=True)
class TableTrunk:
    """Makes the trunk of a table, of a kind that `find_trunk` finds."""

    n_features: int
    width: int
    depth: int
    kind: str = "mlp"

    def __call__(self) -> nn.Module:
        """A fresh trunk."""
        return find_trunk(self.kind)(self.n_features, self.width, self.depth)


@dataclass(frozen=True)
class TableParts:
    """Makes the trunk and the heads of a table at any width; can be sent to processes."""

    n_features: int
    depth: int
    kind: str = "mlp"

    def __call__(self, width: int) -> Parts:
        """A trunk of this width, and linear heads on it."""
        return TableTrunk(self.n_features, width, self.depth, self.kind), linear_heads(width)
