"""Tables as problems: wide (one column per target) or long (each row belongs to one task)."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from affinity.errors import InputError, check_number, check_same
from affinity.reading import ColumnRoles, DataNote, ReadingOptions, TargetKind
from affinity.reading.cleaning import CleanTable, clean_table, marks_by_column, notes_on_marks
from affinity.reading.formats import names_of, ordered_levels, plain_label, without_marks
from affinity.reading.source import (
    DrawnRows,
    fingerprint,
    read_source,
)
from affinity.tasks import Examples, check_names
from affinity.training import TrainingSettings
from affinity.words import count, in_percent

from .column_use import ColumnUse
from .features import FeatureColumns, days_since_1970, find_columns
from .kinds import (
    MOST_LEVELS,
    ROWS_OF_CLASS,
    Kind,
    check_target,
    classes_of,
    encode_target,
    few_of_class,
    find_kind,
    kind_hint,
    task_of,
    unit_of,
)
from .label_counts import notes_on_counts, notes_on_unseen_labels
from .preprocessing import Label, Preprocessing
from .problem import DataSource, Problem, TableParts
from .resampling import RandomRows, TimeBlocks
from .row_weights import notes_on_weights, row_weights
from .table_notes import notes_on_table
from .target_columns import VectorLabels, encode_event, expand_sets, join_columns
from .test_rows import (
    VALIDATION,
    first_rows,
    group_numbers,
    in_order_of_time,
    part_names_of,
    set_aside,
    times_of,
    without_divided_groups,
)

MANY_ROWS = 100_000  # from here on, all replicates are encoded with the same statistics
_ROWS_AT_ONCE = 16_384  # rows that are encoded at once
MOST_OF_DIVIDED_TIME = 0.1  # share of test rows with the time of development rows
FEWEST_GROUPS = 20  # groups of test rows from which on an interval over groups can be relied on


def load_table(
    source: Any,
    targets: Sequence[str | int] | None = None,
    *,
    task_column: str | int | None = None,
    target: str | int | None = None,
    kinds: Mapping[Any, str | Sequence[str]] | None = None,
    exclude: Sequence[str | int] = (),
    reading: ReadingOptions | None = None,
    time_column: str | int | None = None,
    split_column: str | int | None = None,
    groups: str | int | Sequence[object] | np.ndarray | pd.Series | None = None,
    sample_weight: str | int | Sequence[float] | np.ndarray | pd.Series | None = None,
    known: float = 1.0,
    test_share: float = 0.25,
    validation_share: float = 0.2,
    width: int = 64,
    depth: int = 2,
    settings: TrainingSettings | None = None,
    rows: int | None = None,
    cells: int | None = None,
    seed: int = 0,
) -> Problem:
    """Read a table and make it a problem.

    Args:
        source: What `read_source` reads: a file (CSV, Parquet, Feather, JSON lines, Excel, ...), a
            folder of Parquet files, or a frame of pandas, polars, Arrow or Hugging Face datasets.
        targets: Wide table: the columns to predict; an empty cell is a missing label. Columns whose
            names are numbers may be given as numbers.
        task_column: Long table: the column that says to which task a row belongs.
        target: Long table: the column to predict.
        kinds: Kind of a target where it should not be found from the values (`TargetKind.of`); in
            a long table the key is the target column. A vector is a target with a new name.
        exclude: Columns to leave out; they are not looked at.
        reading: Separator, decimal mark, encoding, missing marks and date formats, where they
            should not be found from the table.
        time_column: The latest rows are the test rows, and validation rows come in blocks.
        split_column: Rows it calls "test" are the test rows.
        groups: A column, or one value per row, that says which rows belong together (a patient, a
            user, a device): rows of one group are never in two of the splits. Where time or a
            split column decides on test rows, development rows of their groups are left out.
        sample_weight: A column, or one value per row: how much the row counts in training and in
            all scores. A row of weight 0 does not count.
        known: Share of the rows, in order of time, that are used; later ones are left out.
        test_share: Share of the rows set aside for the audit, where no column says which.
        validation_share: Share of the other rows that decide when to stop.
        rows: Largest number of rows to use, drawn at random (whole groups); all of them if None.
            Parquet is read part by part, so that the other rows take no memory.
        cells: The same limit as a number of cells: rows times columns.
        seed: Decides which rows are drawn, and which are test rows.

    Raises:
        InputError: If a column is missing (the nearest name is given), a target cannot be
            learned, or no rows or features are left.

    Example:
        >>> table = pd.DataFrame({"age": range(40), "sick": [0, 1] * 20, "tall": [0, 0, 1, 1] * 10})
        >>> problem = load_table(table, targets=["sick", "tall"])
        >>> len(problem.development), len(problem.test)
        (30, 10)
    """
    check_number("the known share", known, "invalid-share", above=0, most=1)
    if known < 1 and time_column is None:
        raise InputError(
            f"Expected a time column that says which rows are the first {known}.",
            "missing-time-column",
        )
    check_number("the test share", test_share, "invalid-share", above=0, below=1)
    if task_column is not None and (target is None or targets):
        raise InputError(
            "Expected one target column and a task column for a long table "
            f"(--task-column {task_column} --target y), but got "
            f"{[*([] if target is None else [target]), *(targets or ())] or 'none'}.",
            "long-table-targets",
        )
    reading = reading or ReadingOptions()
    targets = [targets] if isinstance(targets, str) else targets
    group_column, weight_column, task_column, target, time_column, split_column = (
        str(name) if isinstance(name, str | int) else None
        for name in (groups, sample_weight, task_column, target, time_column, split_column)
    )
    roles = ColumnRoles(
        targets=(*([] if target is None else [target]), *map(str, targets or ())),
        kinds={str(name): TargetKind.of(kind, str(name)) for name, kind in (kinds or {}).items()},
        task=task_column,
        time=time_column,
        split=split_column,
        group=group_column,
        weight=weight_column,
        exclude=(exclude,) if isinstance(exclude, str) else tuple(map(str, exclude)),
    )
    roles.check_header(source, reading)  # before a large table is read
    is_limited = rows is not None or cells is not None
    if is_limited and any(
        part is not None and not isinstance(part, str | int) for part in (groups, sample_weight)
    ):
        raise InputError(
            "Expected groups and weights as columns where the number of rows is limited, but got "
            "one value per row. Add them to the table, and name the columns.",
            "values-of-drawn-rows",
        )
    draw = DrawnRows(rows, cells, seed, group_column) if is_limited else None
    raw = read_source(source, reading, draw)
    table = raw.frame.reset_index(drop=True)
    if groups is not None and group_column is None:
        group_column, table = _with_column(table, "group", groups)
    if sample_weight is not None and weight_column is None:
        weight_column, table = _with_column(table, "weight", sample_weight)
    roles = replace(roles, group=group_column, weight=weight_column).in_table(table.columns)
    roles.check(table.columns)
    _check_repeated(raw.notes, [*roles.labels, *roles.of_rows])
    if task_column is None:
        roles = replace(roles, kinds={**roles.kinds, **_ordered_kinds(table, roles)})
    sets = roles.of_kind("set")
    marks = marks_by_column(list(map(str, table.columns)), reading.missing, reading.date_formats)
    notes = [*raw.notes]
    if all(note.code != "rows-drawn" for note in raw.notes):
        used = table.drop(columns=list(roles.exclude))
        notes += notes_on_marks(used, reading.missing, reading.date_formats)
    table = table.assign(**{name: without_marks(table[name], marks[name]) for name in sets})
    table, made, notes_on_sets = expand_sets(table, sets)
    rest = [name for name in marks if name not in {*sets, *roles.exclude}]
    chosen = [column for name in roles.targets for column in made.get(name, [name])]
    chosen_kinds = {name: kind for name, kind in roles.kinds.items() if kind.kind != "set"}
    labels_of_sets = [column for columns in made.values() for column in columns]
    cleaned = clean_table(
        table.drop(columns=list(roles.exclude)),
        [*labels_of_sets, *(n for n in roles.labels if n not in {*sets, *roles.events})],
        [*roles.of_rows, *roles.events],
        missing=[f"{name}={mark}" for name in rest for mark in marks[name]],
        date_formats=reading.date_formats,
        decimal=raw.decimal,
    )
    table = cleaned.frame.assign(
        **{
            name: days_since_1970(cleaned.frame[name])
            for name in {*chosen, *roles.labels} - {*roles.events} & set(cleaned.formats)
            if cleaned.formats[name].read_as == "date"
        }
    )
    if known < 1 and time_column is not None:
        table = first_rows(table, time_column, known)
    clean_parts = table
    table, labels_of_vectors = join_columns(table, chosen_kinds)
    if task_column is not None:
        assert target is not None
        labels, task_kinds = _long_targets(table, task_column, target, chosen_kinds)
    else:
        labels, task_kinds = _wide_targets(table, check_names(chosen), chosen_kinds)

    no_features = {*chosen, *roles.of_rows, *roles.labels}
    features = table[[name for name in table.columns if name not in no_features]]
    levels = {
        name: kind.names
        for name, kind in chosen_kinds.items()
        if kind.kind in ("binary", "ordinal")
    }
    classes = {
        name: classes_of(name, labels[name], kind, levels.get(target or name, ()))
        for name, kind in task_kinds.items()
    }
    values = pd.DataFrame({name: encode_target(labels[name], classes[name]) for name in task_kinds})
    tensor = torch.tensor(values.to_numpy(), dtype=torch.float32)
    weights = None if weight_column is None else row_weights(table[weight_column])
    if weights is not None:
        tensor[weights == 0] = torch.nan

    group = None if group_column is None else group_numbers(table[group_column])
    is_test = set_aside(table, tensor, time_column, split_column, test_share, seed, group)
    is_development = ~is_test if group is None else without_divided_groups(is_test, group)
    order = torch.arange(len(table))
    if time_column is not None:
        order = torch.from_numpy(in_order_of_time(table, time_column).copy())
    development, test = order[is_development[order]], order[is_test[order]]
    if not len(development) or not len(test):
        raise InputError(
            f"Expected rows to train on and rows to test on, but of {count(len(table), 'row')} "
            f"there are {len(development)} and {len(test)}: give more rows, or choose more test "
            "rows (--split-column).",
            "too-few-rows",
        )

    columns = find_columns(features.iloc[development.numpy()], cleaned.formats)
    clean = columns.read(features)
    vectors = {
        name: VectorLabels.of(labels, chosen_kinds[name].names, development)
        for name, labels in labels_of_vectors.items()
    }
    encoder = TableEncoder(
        features=clean,
        targets=tensor,
        development=development,
        test=test,
        transformer=columns.transformer(clean.iloc[development.numpy()]),
        kinds=tuple(task_kinds.values()),
        columns=columns,
        classes=classes,
        groups=group,
        weights=weights,
        components={name: labels.units for name, labels in vectors.items()},
    )
    examples, test_examples = encoder(torch.arange(len(development)))
    judged, judged_kinds = values, task_kinds
    if task_column is not None and target is not None:  # the one column that all tasks share
        judged = values.bfill(axis=1).iloc[:, :1].set_axis([target], axis=1)
        judged_kinds: dict[str, Kind] = {target: next(iter(task_kinds.values()))}
    for name in roles.of_kind("censored", "vector"):  # leaks of its parts are looked for
        judged = judged.drop(columns=name)
        judged_kinds = {n: k for n, k in judged_kinds.items() if n != name}
        for part in roles.parts[name]:
            is_event, label = part in roles.events, clean_parts[part]
            judged_kinds[part] = "binary" if is_event else "regression"
            judged[part] = encode_event(label) if is_event else label.astype(float)
    uses = {name: f"target: {next(iter(task_kinds.values()))}" for name in chosen}
    for name, kind in task_kinds.items():
        for part in roles.parts.get(name, [name]):
            role = "event" if part in roles.events else "part"
            uses[part] = f"target: {kind}" if part == name else f"{role} of target {name!r}"
    uses |= roles.of_rows
    seen, is_chosen = development.numpy(), split_column is not None
    times = None if time_column is None else times_of(table, time_column)
    parts = TableParts(examples.inputs.shape[1], depth)
    trunk, head = parts(width)
    problem = Problem(
        name=raw.name,
        tasks=tuple(
            task_of(name, kind, classes[name], vectors[name].scaled if name in vectors else None)
            for name, kind in task_kinds.items()
        ),
        development=examples,
        test=test_examples,
        trunk=trunk,
        head=head,
        encoder=encoder,
        resampling=(
            RandomRows(validation_share) if time_column is None else TimeBlocks(validation_share)
        ),
        settings=settings or _settings_for(len(development)),
        width=width,
        parts=parts,
        notes=(
            *notes,
            *cleaned.notes,
            *notes_on_sets,
            *_kind_notes(labels, task_kinds, labels if task_column else roles.kinds),
            *notes_on_unseen_labels(tensor, classes, development, test),
            *_event_notes(roles),
            *_split_notes(table, split_column),
            *(() if is_chosen else _time_notes(times, development, test)),
            *_group_notes(None if group is None else table[group_column], group, development, test),
            *notes_on_weights(weight_column, weights),
            *notes_on_table(
                features,
                judged,
                {n: "regression" if k in ("count", "log") else k for n, k in judged_kinds.items()},
                seen,
                test.numpy(),
                dates=clean[list(columns.dates)],
                times=times,
                is_grouped=group is not None,
                is_random=time_column is None and not is_chosen,
            ),
            *(
                DataNote("left-out", f"Column {name!r} was left out: {why}.", column=name)
                for name, why in {**cleaned.left_out, **columns.dropped}.items()
            ),
        ),
        source=DataSource(
            name=Path(source).name if isinstance(source, str | Path) else "data frame",
            fingerprint=fingerprint(table),
            rows=len(table),
            layout="long" if task_column is not None else "wide",
            features=examples.inputs.shape[1],
            columns=_column_uses(cleaned, columns, uses, roles.exclude),
            kinds=task_kinds,
        ),
    )
    return replace(
        problem,
        notes=(
            *notes_on_counts(
                problem.label_counts(), roles.of_kind("censored"), has_groups=group is not None
            ),
            *problem.notes,
        ),
    )


@dataclass(frozen=True, eq=False)
class TableEncoder:
    """Encodes all rows of a table with statistics of the training rows of a replicate.

    Features are imputed and scaled by the training rows' medians, means and deviations;
    regression targets are standardized by the training rows' means and deviations. From
    `MANY_ROWS` development rows on, where these hardly differ between replicates, the statistics
    are those of all development rows: the table is encoded once, and all replicates share it.
    """

    features: pd.DataFrame
    targets: Float[Tensor, "row task"]
    development: Int[Tensor, " development"]
    test: Int[Tensor, " test"]
    transformer: Any  # a ColumnTransformer of scikit-learn
    kinds: tuple[Kind, ...]
    columns: FeatureColumns
    classes: Mapping[str, list[object] | None]
    groups: Int[Tensor, " row"] | None = None
    weights: Float[Tensor, " row"] | None = None
    components: Mapping[str, Mapping[str, tuple[float, float]]] = field(
        default_factory=dict[str, Mapping[str, tuple[float, float]]]
    )

    def __call__(self, training: Int[Tensor, " training"]) -> tuple[Examples, Examples]:
        """Development and test rows, from rows numbered within the development rows."""
        return self._of_all_rows if self._is_shared else self._encode(training)

    @property
    def _is_shared(self) -> bool:
        """Whether all replicates use the statistics of all development rows."""
        return len(self.development) >= MANY_ROWS

    @cached_property
    def _of_all_rows(self) -> tuple[Examples, Examples]:
        return self._encode(torch.arange(len(self.development)))

    def _encode(self, training: Int[Tensor, " training"]) -> tuple[Examples, Examples]:
        transformer, mean, deviation = self._fit(training)

        def encode(rows: Int[Tensor, " row"]) -> Examples:
            inputs: list[Tensor] = []
            for some in rows.split(_ROWS_AT_ONCE):
                values = transformer.transform(self.features.iloc[some.numpy()])
                inputs.append(torch.tensor(np.asarray(values), dtype=torch.float32))
            groups = None if self.groups is None else self.groups[rows]
            weights = None if self.weights is None else self.weights[rows]
            targets = (self.targets[rows] - mean) / deviation
            return Examples(torch.cat(inputs), targets, groups, weights)

        return encode(self.development), encode(self.test)

    def target_scales(self, training: Int[Tensor, " training"]) -> Float[Tensor, " task"]:
        """What each target of numbers is divided by, from these training rows; 1 for classes."""
        return self._target_statistics(training)[1]

    def fitted(self, training: Int[Tensor, " training"]) -> Preprocessing:
        """The statistics of these training rows, which can be saved and applied to other tables."""
        transformer, mean, deviation = self._fit(training)
        labels = {
            name: Label(
                classes,
                float(mean[column]),
                float(deviation[column]),
                self.kinds[column],
                self.components.get(name, {}),
            )
            for column, (name, classes) in enumerate(self.classes.items())
        }
        return Preprocessing.of(self.columns, transformer, labels)

    def _fit(self, training: Int[Tensor, " training"]) -> tuple[Any, Tensor, Tensor]:
        from sklearn.base import clone

        rows = self.development if self._is_shared else self.development[training]
        transformer: Any = clone(self.transformer)
        transformer.fit(self.features.iloc[rows.numpy()])
        return transformer, *self._target_statistics(training)

    def _target_statistics(self, training: Int[Tensor, " training"]) -> tuple[Tensor, Tensor]:
        rows = self.development if self._is_shared else self.development[training]
        known = self.targets[rows]
        units = [unit_of(kind, known[:, task]) for task, kind in enumerate(self.kinds)]
        return known.new_tensor([first for first, _ in units]), known.new_tensor(
            [second for _, second in units]
        )


def _column_uses(
    cleaned: CleanTable,
    columns: FeatureColumns,
    other_uses: Mapping[str, str],
    exclude: Sequence[str],
) -> tuple[ColumnUse, ...]:
    """What was done with each column, in the order of the table."""
    uses: list[ColumnUse] = []
    for name, column in cleaned.frame.items():
        read_as = cleaned.formats[str(name)].read_as
        if name in other_uses:
            encoded = other_uses[str(name)]
        elif name in columns.formats:
            encoded = columns.encoding(str(name))
        else:
            encoded = "left out"
        reason = columns.dropped.get(str(name))
        remarks = [remark.text for remark in cleaned.remarks.get(str(name), ())]
        notes = " ".join(filter(None, [reason, *remarks]))
        uses.append(ColumnUse(str(name), read_as, encoded, int(column.isna().sum()), notes))
    left_out = {**dict.fromkeys(exclude, "excluded"), **cleaned.left_out}
    return (*uses, *(ColumnUse(n, "nothing", "left out", 0, why) for n, why in left_out.items()))


def _check_repeated(notes: Sequence[DataNote], used: Sequence[str]) -> None:
    """Refuse a column with a use whose name comes more than once."""
    repeated = {note.column for note in notes if note.code == "duplicate-column"}
    if ambiguous := [name for name in used if name in repeated]:
        raise InputError(
            f"Expected one column named {ambiguous[0]!r}, but there are several. Rename them.",
            "duplicate-column",
        )


def _ordered_kinds(table: pd.DataFrame, roles: ColumnRoles) -> dict[str, TargetKind]:
    """The kinds of targets that are ordered categories: binary or ordinal, in their order."""
    kinds: dict[str, TargetKind] = {}
    for name in roles.targets:
        chosen = roles.kinds.get(name)
        if name in table and chosen in (None, TargetKind("ordinal"), TargetKind("binary")):
            column = table[name]
            is_ordered = isinstance(column.dtype, pd.CategoricalDtype) and column.cat.ordered
            levels = ordered_levels(column.cat.remove_unused_categories()) if is_ordered else ()
            if 2 <= len(levels) <= MOST_LEVELS:
                kinds[name] = TargetKind("binary" if len(levels) == 2 else "ordinal", levels)
    return kinds


def _with_column(table: pd.DataFrame, name: str, values: Any) -> tuple[str, pd.DataFrame]:
    """The table with one more column, and the name of that column."""
    values = np.asarray(values)
    check_same(f"the shape of the {name}s", values.shape, (len(table),), f"{name}s-do-not-fit")
    while name in table.columns:
        name = f"({name})"
    return name, table.assign(**{name: values})


def _event_notes(roles: ColumnRoles) -> Iterator[DataNote]:
    for target in roles.of_kind("censored"):
        event = roles.kinds[target].names[0]
        if re.search(r"cens|alive|surviv|lost", event.casefold()):
            yield DataNote(
                "event-column",
                f"A 1 or yes in the column {event!r} is taken to mean that the event of {target!r} "
                "happened, but its name sounds as if it had not. If so, recode the column.",
                "warning",
                column=event,
                task=target,
            )


def _split_notes(table: pd.DataFrame, column: str | None) -> Iterator[DataNote]:
    if column is not None and (n_rows := int(part_names_of(table[column]).isin(VALIDATION).sum())):
        yield DataNote(
            "validation-rows",
            f"Rows that {column!r} calls validation ({n_rows:,}) are used like its training rows: "
            "every replicate draws its own validation rows from both.",
            column=column,
            value=float(n_rows),
        )


def _time_notes(
    times: pd.Series | None, development: Int[Tensor, " development"], test: Int[Tensor, " test"]
) -> Iterator[DataNote]:
    if times is None:
        return
    values = times.to_numpy()
    share = float(np.isin(values[test], values[development]).mean())
    if share >= MOST_OF_DIVIDED_TIME:
        yield DataNote(
            "divided-time",
            f"{in_percent(share)} of the test rows have the same {str(times.name)!r} as "
            "development rows: the latest rows begin in the middle of that time, in the order of "
            "the table. Use a column with finer times, or another --test-share.",
            "warning",
            column=str(times.name),
            value=share,
        )


def _group_notes(
    values: pd.Series | None,
    groups: Int[Tensor, " row"] | None,
    development: Int[Tensor, " development"],
    test: Int[Tensor, " test"],
) -> Iterator[DataNote]:
    if values is None or groups is None:
        return
    column = str(values.name)
    if n_missing := int(values.isna().sum()):
        yield DataNote(
            "rows-without-group",
            f"{count(n_missing, 'row')} without a value of {column!r} are a group each. If some of "
            "them belong together, scores are too good: give them a value.",
            "warning",
            column=column,
            value=float(n_missing),
        )
    n_development, n_test = (len(groups[rows].unique()) for rows in (development, test))
    yield DataNote(
        "groups",
        f"Rows with the same {column!r} stay together in every split: "
        f"{count(n_development, 'group')} of development rows, {count(n_test, 'group')} of test "
        f"rows. Intervals over test rows are over these "
        "groups.",
        column=column,
    )
    if dropped := len(groups) - len(development) - len(test):
        yield DataNote(
            "divided-groups",
            f"{dropped} rows of {column!r} values that test rows have, too, were left out of the "
            f"development rows ({in_percent(dropped / len(groups))} of all rows): a network must "
            "not learn from groups that it is tested on.",
            "warning",
            column=column,
            value=float(dropped),
        )
    if n_test < FEWEST_GROUPS:
        yield DataNote(
            "few-groups",
            f"Only {count(n_test, 'group')} of {column!r} with test rows: intervals over other "
            "groups are wide and uncertain. Gather more groups, or use a larger --test-share.",
            "warning",
            column=column,
            value=float(n_test),
        )


def _settings_for(n_rows: int) -> TrainingSettings:
    """Choose the batch size so that an epoch has between about ten and a hundred steps."""
    return TrainingSettings(batch_size=min(512, max(32, 2 ** round(np.log2(n_rows / 50)))))


def _kind_notes(
    labels: pd.DataFrame,
    kinds: Mapping[str, Kind],
    chosen: Mapping[str, TargetKind] | pd.DataFrame,
) -> Iterator[DataNote]:
    for name, kind in kinds.items():
        if name not in chosen and (hint := kind_hint(name, labels[name], kind)):
            yield hint
        if kind == "classes" and len(few := few_of_class(labels[name])):
            counts = ", ".join(f"{plain_label(label)!r} ({n})" for label, n in few[:6].items())
            yield DataNote(
                "rare-classes",
                f"Fewer than {ROWS_OF_CLASS} rows have these classes of the target {name!r}: "
                f"{counts}{' and more' if len(few) > 6 else ''}. They are too few to learn or to "
                "judge; join them with others, or leave their cells empty.",
                "warning",
                task=name,
                value=float(len(few)),
            )


def _wide_targets(
    table: pd.DataFrame, targets: Sequence[str], kinds: Mapping[str, TargetKind]
) -> tuple[pd.DataFrame, dict[str, Kind]]:
    task_kinds: dict[str, Kind] = {}
    for name in targets:
        chosen = kinds.get(name) or TargetKind(find_kind(table[name]))
        task_kinds[name] = chosen.kind
        if chosen.kind not in ("censored", "vector"):  # `join_columns` has checked them
            check_target(name, table[name], chosen.kind, chosen.names)
    return table[list(targets)], task_kinds


def _long_targets(
    table: pd.DataFrame, task_column: str, target: str, kinds: Mapping[str, TargetKind]
) -> tuple[pd.DataFrame, dict[str, Kind]]:
    if table[task_column].isna().any():
        row = int(np.flatnonzero(table[task_column].isna())[0])
        raise InputError(
            f"Expected a task in every row of {task_column!r}, but row {row} has none.",
            "missing-task",
        )
    chosen = kinds.get(target) or TargetKind(find_kind(table[target]))
    kind = chosen.kind
    names = names_of(table[task_column])
    labels: dict[str, pd.Series] = {}
    for name in names.unique():
        labels[name] = table[target].where(names == name)
        if kind != "classes":
            check_target(f"{target} of {name}", labels[name], kind, chosen.names)
    check_names(labels)
    return pd.DataFrame(labels), dict.fromkeys(labels, kind)
