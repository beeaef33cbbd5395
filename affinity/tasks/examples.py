"""Labelled examples, and a replicate: one draw of training, validation and test rows."""

from dataclasses import dataclass

from jaxtyping import Bool, Float, Int
from torch import Tensor

from affinity.errors import InputError


@dataclass(frozen=True, eq=False)
class Examples:
    """Rows of inputs with one target per task; NaN if a row has no label for a task.

    Classes are numbered 0, 1, ... and kept as floats, so that one table holds every kind of
    target. A table in which each row belongs to one task has one label per row.

    Args:
        inputs: One entry a row, of any shape.
        targets: ``[row task]``.

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

    def __post_init__(self) -> None:
        if len(self.inputs) != len(self.targets):
            raise InputError(
                f"Expected as many inputs as targets, but got {len(self.inputs)} rows of inputs "
                f"and {len(self.targets)} rows of targets.",
                "rows-differ",
            )

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def labelled(self) -> Bool[Tensor, "row task"]:
        """Which rows have a label for which task."""
        return ~self.targets.isnan()

    def take(self, rows: Int[Tensor, " chosen"]) -> "Examples":
        """The chosen rows, in the order given."""
        return Examples(inputs=self.inputs[rows], targets=self.targets[rows])


@dataclass(frozen=True, eq=False)
class Replicate:
    """A fresh resampling of rows with a fresh seed, shared by everything that is compared.

    Every network trained on a replicate sees the same rows in the same order and starts from the
    same seed, so that differences between networks are paired.

    Args:
        seed: Decides initial parameters and the order of rows.
        training: Rows to learn from.
        validation: Rows that decide when to stop.
        test: Rows that judge; no decision sees them.
        evaluation: Development rows for decisions between networks: neither training nor stopping
            saw them. Validation losses would favour whoever could stop for each task apart.
    """

    seed: int
    training: Examples
    validation: Examples
    test: Examples
    evaluation: Examples | None = None
