"""Labelled examples, and a replicate: one random split into training, validation and test rows."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from affinity.errors import InputError, check_same


@dataclass(frozen=True, eq=False)
class Examples:
    """Rows of inputs with one target per task; NaN if a row has no label for a task.

    Classes are numbered 0, 1, ... and kept as floats, so that one tensor holds every type of
    target. A table in which each row belongs to one task has one label per row.

    Args:
        inputs: One entry per row, of any shape.
        targets: ``[row task]``.
        groups: The group of each row, as a number; rows of one group (a patient, a user) are
            never split between training, validation, selection and test rows. None: every row is a
            group of its own.
        weights: How much each row counts in losses and metrics; None: all the same.

    Raises:
        InputError: If these are not tensors, or their numbers of rows differ.

    Example:
        >>> import torch
        >>> rows = Examples(torch.zeros(2, 3), torch.tensor([[0.0, torch.nan], [1.0, 5.0]]))
        >>> rows.labelled.tolist()
        [[True, False], [True, True]]
        >>> len(rows.take(torch.tensor([1])))
        1
    """

    inputs: Float[Tensor, "row *feature"]
    targets: Float[Tensor, "row task"]
    groups: Int[Tensor, " row"] | None = None
    weights: Float[Tensor, " row"] | None = None

    def __post_init__(self) -> None:
        for name in ("inputs", "targets", "groups", "weights"):
            values = getattr(self, name)
            if values is not None and not isinstance(values, Tensor):
                raise InputError(
                    f"Expected a tensor of {name} with one entry per row, but got an object of the "
                    f"type {type(values).__name__}. Convert arrays with torch.as_tensor; to train "
                    "on files or a Dataset, give your own training to affinity.Study.",
                    "not-a-tensor",
                )
        for what, values in (("group", self.groups), ("weight", self.weights)):
            if values is not None:
                check_same(f"the number of {what}s", len(values), len(self.inputs), "rows-differ")
        check_same("the number of targets", len(self.targets), len(self.inputs), "rows-differ")

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def labelled(self) -> Bool[Tensor, "row task"]:
        """Whether a row has a label for a task."""
        return ~self.targets.isnan()

    def take(self, rows: Int[Tensor, " chosen"]) -> "Examples":
        """A copy of the chosen rows, in the order given."""
        return Examples(self.inputs_of(rows), *self._labels_of(rows))

    def view(self, rows: Int[Tensor, " chosen"]) -> "ExamplesView":
        """The chosen rows, in the order given; their inputs are copied only where they are read.

        Example:
            >>> import torch
            >>> rows = Examples(torch.arange(3.0)[:, None], torch.zeros(3, 1))
            >>> rows.view(torch.tensor([2, 0])).inputs.flatten().tolist()
            [2.0, 0.0]
        """
        return ExamplesView(self.inputs, *self._labels_of(rows), rows=rows)

    def inputs_of(self, rows: slice | Int[Tensor, " chosen"]) -> Float[Tensor, "chosen *feature"]:
        """The inputs of these rows; of a view, only these are copied."""
        return self.inputs[rows]

    def with_targets(self, targets: Float[Tensor, "row column"]) -> "Examples":
        """The same rows with other targets."""
        return replace(self, targets=targets)

    def _labels_of(self, rows: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        groups = None if self.groups is None else self.groups[rows]
        return self.targets[rows], groups, None if self.weights is None else self.weights[rows]


class ExamplesView(Examples):
    """Rows whose inputs stay in a table that other examples use, too.

    Args:
        inputs: The table: inputs of these and other rows.
        rows: The place of each row in the table; all rows in their order if None.
    """

    table: Float[Tensor, "place *feature"]
    rows: Int[Tensor, " row"]

    def __init__(
        self,
        inputs: Tensor,
        targets: Tensor,
        groups: Tensor | None = None,
        weights: Tensor | None = None,
        rows: Tensor | None = None,
    ) -> None:
        rows = torch.arange(len(inputs)) if rows is None else rows
        vars(self).update(table=inputs, rows=rows, targets=targets, groups=groups, weights=weights)

    @property
    def inputs(self) -> Float[Tensor, "row *feature"]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """A copy of the inputs of these rows."""
        return self.table[self.rows]

    def __len__(self) -> int:
        return len(self.rows)

    def view(self, rows: Int[Tensor, " chosen"]) -> "ExamplesView":
        """The chosen rows, in the order given, of the same table."""
        return ExamplesView(self.table, *self._labels_of(rows), rows=self.rows[rows])

    def inputs_of(self, rows: slice | Int[Tensor, " chosen"]) -> Float[Tensor, "chosen *feature"]:
        """A copy of the inputs of these rows."""
        return self.table[self.rows[rows]]

    def with_targets(self, targets: Float[Tensor, "row column"]) -> Examples:
        """The same rows with other targets."""
        return ExamplesView(self.table, targets, self.groups, self.weights, self.rows)


@dataclass(frozen=True, eq=False)
class Replicate:
    """A new data split with a new seed; all compared networks are trained on the same one.

    Every network trained on a replicate sees the same rows in the same order and starts from the
    same seed, so that differences between networks are paired.

    Args:
        seed: Random seed of the initial parameters and the order of rows.
        training: Rows to fit.
        validation: Rows for early stopping.
        test: Held-out rows; no decision uses them.
        evaluation: Development rows for decisions between networks: neither training nor early
            stopping used them. Validation losses would favour networks that stop early per task.
        target_scales: The unit of each standardized target, for metrics in the target's own units;
            None if targets are not standardized.

    Example:
        >>> from affinity.problems import load_digits
        >>> replicate = load_digits().replicate(0)
        >>> len(replicate.training), len(replicate.validation), len(replicate.evaluation)
        (810, 269, 269)
    """

    seed: int
    training: Examples
    validation: Examples
    test: Examples
    evaluation: Examples | None = None
    target_scales: Float[Tensor, " task"] | None = None
