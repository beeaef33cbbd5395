"""Affinity matrix: the estimated effect of each source task on each target task, with errors."""

from dataclasses import dataclass
from functools import cached_property

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from affinity import markup
from affinity.errors import InputError, check_choice, check_has_columns, check_same
from affinity.tasks import check_names

MOST_SHOWN = 30


@dataclass(frozen=True, eq=False)
class AffinityMatrix(markup.ShownAsTable):
    """Estimated effect of every source (row) on every target (column); above 0 helps.

    Args:
        tasks: Names, in the order of both axes.
        values: NaN where nothing was measured.
        n_steps: The number of measurements that each value averages.

    Raises:
        InputError: If shapes and names do not fit.

    Example:
        >>> import torch
        >>> matrix = AffinityMatrix(("depth", "edges"), torch.tensor([[0.5, -0.25], [0.75, 0.5]]))
        >>> matrix.onto("edges")
        {'depth': -0.25}
    """

    tasks: tuple[str, ...]
    values: Float[Tensor, "source target"]
    standard_error: Float[Tensor, "source target"] | None = None
    n_steps: Int[Tensor, "source target"] | None = None
    estimator: str | None = None

    def __post_init__(self) -> None:
        check_names(self.tasks)
        square = (len(self.tasks), len(self.tasks))
        for name in ("values", "standard_error", "n_steps"):
            array = getattr(self, name)
            if array is not None and not isinstance(array, Tensor):
                raise InputError(
                    f"Expected {name} to be a tensor [source target], but got "
                    f"{type(array).__name__}: torch.tensor({name}) makes one of nested lists, "
                    f"torch.as_tensor({name}) of an array.",
                    "wrong-type",
                )
            if array is not None:
                check_same(f"the shape of {name}", tuple(array.shape), square, "wrong-shape")

    def onto(self, target: str) -> dict[str, float]:
        """Affinity of every other task onto `target`."""
        column = self._index(target)
        return {
            source: self.values[row, column].item()
            for row, source in enumerate(self.tasks)
            if source != target
        }

    def between(self, source: str, target: str) -> float:
        """Affinity of `source` onto `target`."""
        return self.values[self._index(source), self._index(target)].item()

    def frame(self) -> pd.DataFrame:
        """One row per pair: source, target, affinity, standard_error, n_steps."""
        names = pd.Series(self.tasks)
        columns: dict[str, object] = {
            "source": names.repeat(len(names)).to_numpy(),
            "target": pd.concat([names] * len(names)).to_numpy(),
        }
        for name in ("values", "standard_error", "n_steps"):
            if (array := getattr(self, name)) is not None:
                column = "affinity" if name == "values" else name
                columns[column] = array.detach().cpu().numpy().flatten()
        return pd.DataFrame(columns)

    def to_frame(self) -> pd.DataFrame:
        """The values as a square table: sources as rows, targets as columns."""
        return pd.DataFrame(
            self.values.tolist(),
            index=pd.Index(self.tasks, name="source"),
            columns=pd.Index(self.tasks, name="target"),
        )

    @classmethod
    def from_frame(cls, frame: pd.DataFrame, estimator: str | None = None) -> "AffinityMatrix":
        """The matrix whose `frame()` this is.

        Raises:
            InputError: If a column or a pair is missing.
        """
        check_has_columns(frame.columns, ["source", "target", "affinity"])
        tasks = check_names(str(name) for name in frame["source"].unique())
        rows = frame.set_index(["source", "target"])
        if len(rows) != len(tasks) ** 2 or not rows.index.is_unique:
            raise InputError(
                f"Expected one row for each of the {len(tasks) ** 2} pairs of the tasks {tasks}, "
                f"but got {len(rows)} rows.",
                "missing-pair",
            )

        def square(column: str) -> Tensor | None:
            if column not in frame.columns:
                return None
            return torch.tensor(rows[column].unstack().loc[list(tasks), list(tasks)].to_numpy())

        values = square("affinity")
        assert values is not None
        return cls(tasks, values, square("standard_error"), square("n_steps"), estimator)

    def as_table(self) -> markup.ResultTable:
        """The values, in HTML on blue (helps) or orange (harms), grey within noise."""
        off = self.values.masked_fill(torch.eye(len(self.tasks), dtype=torch.bool), torch.nan)
        known = off[off.isfinite()].abs()
        limit = known.max().item() if len(known) else 0.0
        error = self.standard_error
        noise = off.abs() < 2 * error if error is not None else torch.zeros_like(off).bool()
        shown = range(min(len(self.tasks), MOST_SHOWN))

        def colour(row: int, column: int) -> str:
            is_noise = bool(noise[row, column])
            return markup.NOISE if is_noise else markup.diverging(off[row, column].item(), limit)

        left_out = len(self.tasks) - len(shown)
        return markup.ResultTable(
            ["source \\ target", *(self.tasks[column] for column in shown)],
            [
                [self.tasks[row], *(f"{self.values[row, column].item():.3g}" for column in shown)]
                for row in shown
            ],
            f"{self.estimator or 'Affinity'} of {len(self.tasks)} tasks"
            + (f", {left_out} of them not shown" if left_out else ""),
            [["", *(colour(row, column) for column in shown)] for row in shown],
        )

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {task: position for position, task in enumerate(self.tasks)}

    def _index(self, task: str) -> int:
        check_choice("the task", task, self.tasks, "unknown-task")
        return self._positions[task]
