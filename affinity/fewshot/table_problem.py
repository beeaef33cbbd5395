"""Few-shot problem from a table: a column of classes, or a column of tasks."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from affinity.errors import InputError, check_known, check_number
from affinity.problems import TableTrunk
from affinity.problems.features import find_columns
from affinity.problems.kinds import check_target, classes_of, encode_target, find_kind, task_of
from affinity.problems.leaks import find_leaks
from affinity.problems.problem import linear_heads
from affinity.reading import DataNote, ReadingOptions
from affinity.reading.cleaning import clean_table, notes_on_marks
from affinity.reading.column_roles import split_names
from affinity.reading.formats import ColumnFormat, names_of
from affinity.reading.source import check_column, read_source
from affinity.tasks import Examples

from .class_problem import class_problem, classes_in, split_classes
from .meta_training import MetaTraining
from .problem import FewShotProblem
from .task_family import TaskFamily

LEAST_TASKS = 10
SHARE = 5  # one task in five for validation, and one for the meta-test


def few_shot_table(
    source: str | Path | pd.DataFrame,
    target: str,
    *,
    task_column: str | None = None,
    ways: int = 5,
    queries: int | None = None,
    test_classes: Sequence[str] | None = None,
    exclude: Sequence[str] = (),
    reading: ReadingOptions | None = None,
    width: int = 64,
    depth: int = 2,
    settings: MetaTraining | None = None,
    seed: int = 0,
) -> FewShotProblem:
    """Make a few-shot problem from a table; inputs are scaled with meta-training rows only.

    Args:
        source: A file, folder or frame, as for `load_table`.
        target: The column of classes; or, with a task column, what all tasks predict: numbers, or
            one of two values. Rows without a target are dropped.
        task_column: The task of each row. A fifth of the tasks is used for validation.
        ways: Classes per task, without a task column.
        queries: Query rows per class (15 by default) or per task (10 by default).
        test_classes: Meta-test classes, or with a task column meta-test tasks; by default a third
            of the classes, or a fifth of the tasks. A number is named as it is written, with or
            without decimals: 7 and 7.0 are the same class.
        exclude: Columns to leave out.
        reading: Separator, decimal mark, encoding, missing marks and date formats, where they
            should not be found from the table.

    Raises:
        InputError: If a column is missing, there are too few classes, tasks or rows, or the target
            is not supported.

    Example:
        >>> generator = np.random.default_rng(0)
        >>> table = pd.DataFrame({"x": generator.normal(size=400), "plant": list("abcdefgh") * 50})
        >>> problem = few_shot_table(table, "plant", ways=2, test_classes=["c", "f"])
        >>> problem.training.classes, problem.test.classes
        (('a', 'b', 'd', 'e', 'g', 'h'), ('c', 'f'))
    """
    reading = reading or ReadingOptions()
    raw = read_source(source, reading)
    name, table = raw.name, raw.frame
    special = [target, *([task_column] if task_column is not None else [])]
    exclude = split_names(exclude, table.columns)
    for column in (*special, *exclude):
        check_column(column, table.columns)
    table = table.drop(columns=list(exclude))
    notes = [*raw.notes, *notes_on_marks(table, reading.missing, reading.date_formats)]
    cleaned = clean_table(
        table,
        [target],
        special[1:],
        missing=reading.missing,
        date_formats=reading.date_formats,
        decimal=raw.decimal,
    )
    table = cleaned.frame.dropna(subset=special).reset_index(drop=True)
    features = table.drop(columns=special)
    notes += [*cleaned.notes, *_leaks(features, table[target], task_column is None)]
    if task_column is not None:
        problem = _of_tasks(
            name, table[target], names_of(table[task_column]), features, cleaned.formats,
            queries or 10, width, depth, settings, test_classes, seed,
        )  # fmt: skip
        return replace(problem, notes=tuple(notes))
    labels = names_of(table[target]).tolist()
    training, _ = split_classes(classes_in(labels), ways, test_classes, seed)
    inputs = _encoded(features, np.isin(labels, training), cleaned.formats)
    problem = class_problem(
        name,
        inputs,
        labels,
        ways=ways,
        trunk=TableTrunk(inputs.shape[1], width, depth),
        head=linear_heads(width),
        test_classes=test_classes,
        queries=queries or 15,
        settings=settings,
        seed=seed,
    )
    return replace(problem, notes=tuple(notes))


def _leaks(features: pd.DataFrame, target: pd.Series, has_classes: bool) -> list[DataNote]:
    kind = "classes" if has_classes else find_kind(target)
    codes = pd.Series(pd.factorize(target)[0]) if kind != "regression" else target
    name = str(target.name)
    return find_leaks(features, pd.DataFrame({name: codes}), {name: kind})


def _of_tasks(
    name: str,
    target: pd.Series,
    task_of_row: pd.Series,
    features: pd.DataFrame,
    formats: Mapping[str, ColumnFormat],
    queries: int,
    width: int,
    depth: int,
    settings: MetaTraining | None,
    test_tasks: Sequence[str] | None,
    seed: int,
) -> FewShotProblem:
    kind = find_kind(target)
    if kind == "classes":
        raise InputError(
            f"Expected numbers or two values in the target {target.name!r}, but it has more "
            "classes. Omit the task column for episodes of classes.",
            "unsupported-target",
        )
    check_target(str(target.name), target, kind)
    tasks = sorted(task_of_row.unique())
    where = f"the number of tasks in the column {task_of_row.name!r}"
    check_number(where, len(tasks), "too-few-tasks", least=LEAST_TASKS)
    check_known("meta-test tasks", test_tasks or (), tasks, "unknown-task")
    order = random.Random(seed).sample(tasks, len(tasks))
    share = len(tasks) // SHARE
    test = list(dict.fromkeys(test_tasks or order[:share]))
    others = [name for name in order if name not in test]
    if len(others) < 2 * share:
        raise InputError(
            f"Expected no more than {len(tasks) - 2 * share} of the {len(tasks)} tasks in the "
            f"meta-test, so that enough are left for meta-training and validation, but got "
            f"{len(test)}.",
            "too-few-tasks",
        )
    parts = {"test": test, "validation": others[:share], "training": others[share:]}
    is_training = task_of_row.isin(parts["training"]).to_numpy()
    inputs = _encoded(features, is_training, formats)
    classes = classes_of(str(target.name), target, kind)
    values = encode_target(target, classes)
    if kind == "regression":
        values = (values - values[is_training].mean()) / (values[is_training].std() or 1.0)
    targets = torch.tensor(values, dtype=torch.float32).unsqueeze(1)
    rows = {name: torch.from_numpy(np.flatnonzero(task_of_row == name)) for name in tasks}

    def family(part: str) -> TaskFamily:
        names = sorted(parts[part])
        examples = [Examples(inputs[rows[each]], targets[rows[each]]) for each in names]
        return TaskFamily(tuple(names), examples, task_of(str(target.name), kind, classes))

    return FewShotProblem(
        name=name,
        training=family("training"),
        validation=family("validation"),
        test=family("test"),
        trunk=TableTrunk(inputs.shape[1], width, depth),
        head=linear_heads(width),
        shots=1,
        queries=queries,
        settings=settings or MetaTraining(),
    )


def _encoded(
    features: pd.DataFrame, is_training: np.ndarray, formats: Mapping[str, ColumnFormat]
) -> Float[Tensor, "row feature"]:
    """Features of all rows, with statistics of the meta-training rows."""
    columns = find_columns(features[is_training], formats)
    clean = columns.read(features)
    transformer = columns.transformer(clean[is_training]).fit(clean[is_training])
    return torch.tensor(np.asarray(transformer.transform(clean)), dtype=torch.float32)
