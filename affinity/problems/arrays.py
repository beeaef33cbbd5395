"""Arrays as a table: inputs and targets of any library, joined by the order of their rows."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from affinity.errors import InputError, check_same
from affinity.reading.source import to_pandas, unique_names


def join_arrays(X: Any, Y: Any) -> tuple[pd.DataFrame, dict[str, list[str]]]:  # noqa: N803
    """One table of inputs and targets, and the columns of each target.

    Columns without a name are called ``input 0``, ``target 0`` and so on; repeated names get a
    number, and an input with the name of a target the word input. X is ``[row]`` or
    ``[row column]``; Y, too, or a mapping of names to targets, each ``[row]`` or
    ``[row component]`` for a vector, or the names of columns of X.
    """
    inputs = _frame(X, "input")
    if isinstance(Y, str) or (isinstance(Y, Sequence) and all(isinstance(y, str) for y in Y)):
        return inputs, {name: [name] for name in ([Y] if isinstance(Y, str) else Y)}
    parts = (
        {str(name): part for name, part in Y.items()} if isinstance(Y, Mapping) else {"target": Y}
    )
    frames = {name: _frame(part, name) for name, part in parts.items()}
    if isinstance(Y, Mapping):
        frames = {
            name: part.set_axis([name], axis=1) if part.shape[1] == 1 else part
            for name, part in frames.items()
        }
    for name, part in frames.items():
        check_rows(inputs, part, name)
    targets = pd.concat([part.reset_index(drop=True) for part in frames.values()], axis=1)
    targets.columns = unique_names(list(targets.columns))
    names = iter(targets.columns)
    columns = {name: [next(names) for _ in part.columns] for name, part in frames.items()}
    if not isinstance(Y, Mapping):
        columns = {name: [name] for name in targets.columns}
    taken = set(targets.columns)
    renamed = [f"{name} (input)" if name in taken else name for name in inputs.columns]
    inputs = inputs.reset_index(drop=True).set_axis(unique_names(renamed), axis=1)
    return pd.concat([inputs, targets], axis=1), columns


def _frame(values: Any, name: str) -> pd.DataFrame:
    """Values as a frame whose columns have names."""
    if isinstance(values, pd.Series):
        return values.to_frame(name if values.name is None else str(values.name))
    frame = to_pandas(values)
    if isinstance(frame.columns, pd.RangeIndex) and not isinstance(values, pd.DataFrame):
        return frame.set_axis([f"{name} {number}" for number in range(frame.shape[1])], axis=1)
    names = [
        " ".join(map(str, column)) if isinstance(column, tuple) else str(column)
        for column in frame.columns
    ]
    return frame.set_axis(unique_names(names), axis=1)


def check_rows(inputs: pd.DataFrame, targets: pd.DataFrame | pd.Series, name: str) -> None:
    """Check that inputs and targets have as many rows, in the same order."""
    check_same(f"the number of rows of {name!r}", len(targets), len(inputs), "rows-differ")
    one, other = inputs.index, targets.index
    if not one.equals(other) and one.is_unique and len(one.union(other)) == len(one):
        raise InputError(
            f"Expected inputs and {name!r} in the same order, but their index has the same labels "
            f"in another order. Sort one of them: Y = Y.loc[X.index].",
            "rows-in-another-order",
        )


def name_of_target(name: object, targets: Sequence[str]) -> str:
    """The name of a target that is given by its position, if no target has the number as name."""
    is_position = isinstance(name, int) and str(name) not in targets and 0 <= name < len(targets)
    return targets[name] if is_position and isinstance(name, int) else str(name)


def vector_kinds(columns: Mapping[str, list[str]]) -> dict[str, tuple[str, ...]]:
    """The kinds of the targets that have several columns."""
    return {name: ("vector", *parts) for name, parts in columns.items() if len(parts) > 1}
