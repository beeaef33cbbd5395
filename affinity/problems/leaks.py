"""Leaks: columns that reveal a target, and targets that follow from other targets."""

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from affinity.reading import DataNote, Kind
from affinity.words import in_percent

CERTAIN = 0.99  # a rank correlation, AUC or explained share of this size is called a leak
LIKELY = 0.95  # from this size on it is called a possible leak
MOST_ROWS = 20_000
MOST_CELLS = 60_000_000  # rows x columns x targets
FEWEST_OF_CLASS = 8
FEWEST_OF_HALF = 0.05  # share of rows with the rarer of two values
MOST_NOTES = 5  # on one column
MOST_CLASSES = 50
MOST_TARGETS = 40  # that are compared in pairs
FEWEST_ROWS = 20
FEWEST_DISTINCT = 20  # of numbers whose neighbours are compared


def find_leaks(
    features: pd.DataFrame, targets: pd.DataFrame, kinds: Mapping[str, Kind]
) -> list[DataNote]:
    """A note on each pair of a column and a target that it reveals, the largest figure first.

    Columns are taken as they are in the table, before anything is pooled or left out. Each is
    compared with each target in five ways; the figures are 1 where the column says all:

    - rank correlation with a number, area under the ROC curve for a binary target (monotone
      functions and noisy copies);
    - variance (or Gini impurity) of the target that is explained by the column's values, adjusted
      for their number (identifiers, recoded classes);
    - the same for whether the column is missing ("missing exactly when");
    - the same for neighbours in the order of the column (any other function, and time);
    - area under the ROC curve of a target of numbers for whether the column is missing, or for its
      two values (thresholds of the target).
    """
    features, targets = _sampled(features, targets)
    labels = Labels.of(targets, kinds)
    notes: list[DataNote] = []
    for name in map(str, features.columns):
        column = RawColumn(features[name])
        revealed = sorted(labels.revealed_by(column, LIKELY), key=lambda each: -each[1])
        for task, value, reason in revealed[:MOST_NOTES]:
            others = len(revealed) - MOST_NOTES if task == revealed[0][0] else 0
            notes.append(_leak(name, task, value, reason, column.n_values, max(0, others)))
    return sorted(notes, key=lambda note: -(note.value or 0))


def find_derived_targets(targets: pd.DataFrame, kinds: Mapping[str, Kind]) -> list[DataNote]:
    """A note on each target that follows from an earlier one, or from the others together.

    Of more than `MOST_TARGETS` targets, only rank correlations are compared.
    """
    targets, _ = _sampled(targets, targets)
    labels = Labels.of(targets, kinds)
    notes: dict[str, DataNote] = {}
    names = list(map(str, targets.columns))
    find = _revealed_targets if len(names) <= MOST_TARGETS else _correlated_targets
    for name, other, value, reason in find(targets, labels, kinds):
        if names.index(other) > names.index(name) and other not in notes:
            message = (
                f"Target {other!r} follows from target {name!r}: {reason}. A network for both "
                "learns one task twice; leave one of them out, or read their gains together."
            )
            notes[other] = DataNote("derived-target", message, "warning", name, other, value)
    return [*notes.values(), *_sums_of_targets(targets)]


def _revealed_targets(
    targets: pd.DataFrame, labels: "Labels", kinds: Mapping[str, Kind]
) -> Iterator[tuple[str, str, float, str]]:
    """Pairs of targets of which the first gives the second away, as in `find_leaks`."""
    for name in map(str, targets.columns):
        column = RawColumn(targets[name])
        if kinds[name] == "regression":  # rows of one person repeat their numbers
            column.codes = np.where(column.is_missing, -1, 0)
        for other, value, reason in labels.revealed_by(column, CERTAIN):
            yield name, other, value, reason


def _correlated_targets(
    targets: pd.DataFrame, labels: "Labels", kinds: Mapping[str, Kind]
) -> Iterator[tuple[str, str, float, str]]:
    """Pairs of targets with a rank correlation near 1, all at once."""
    del targets, kinds
    known = labels.is_known.astype(float)
    ranks = np.nan_to_num(labels.label_ranks - np.nanmean(labels.label_ranks, axis=0))
    squares = (ranks**2).T @ known  # of the one task's ranks in rows that both have
    spread = np.sqrt(squares * squares.T)
    correlation = np.abs(ranks.T @ ranks) / np.where(spread > 0, spread, np.inf)
    correlation[known.T @ known < FEWEST_ROWS] = 0.0
    for one, other in zip(*np.nonzero(np.triu(correlation >= CERTAIN, k=1)), strict=True):
        value = float(correlation[one, other])
        reason = f"their rank correlation is {value:.4f}"
        yield labels.tasks[one], labels.tasks[other], value, reason


def _sums_of_targets(targets: pd.DataFrame) -> Iterator[DataNote]:
    """Targets that are a linear function of the others."""
    values = targets.dropna().to_numpy(float)
    if len(values) < 5 * targets.shape[1] or targets.shape[1] < 3:
        return
    scale = values.std(axis=0)
    if not (scale > 0).all():
        return
    correlation = np.corrcoef(values, rowvar=False)
    if np.abs(correlation - np.eye(len(scale))).max() >= CERTAIN:
        others = np.abs(correlation - np.eye(len(scale))).max(axis=0) < CERTAIN
        yield from _sums_of_targets(targets.iloc[:, np.flatnonzero(others)])
        return
    inverse = np.linalg.inv(correlation + 1e-9 * np.eye(len(scale)))
    explained = 1 - 1 / inverse.diagonal()
    for name, share in zip(map(str, targets.columns), explained, strict=True):
        if share >= CERTAIN:
            yield DataNote(
                "derived-target",
                f"Target {name!r} is a weighted sum of other targets (they explain "
                f"{in_percent(share, 1)} of its variance). It may be derived from them; read its "
                "gain with care.",
                "warning",
                task=name,
                value=float(share),
            )


def _leak(
    column: str, task: str, value: float, reason: str, n_values: int, n_others: int
) -> DataNote:
    is_certain = value >= CERTAIN
    verb = "gives" if is_certain else "nearly gives"
    together = (
        f" If its values name persons or things with several rows each, keep their rows together: "
        f"--group-column {shlex.quote(column)}."
        if reason.startswith("its values") and n_values >= FEWEST_DISTINCT
        else ""
    )
    if reason.startswith("its neighbouring"):
        together = f" If it is a time, use --time-column {shlex.quote(column)}."
    more = f" (and {n_others} more targets than are listed)" if n_others else ""
    return DataNote(
        "leak" if is_certain else "possible-leak",
        f"Column {column!r} {verb} target {task!r}{more} away: {reason}. If it is not known when "
        f"predictions are made, leave it out: --exclude {shlex.quote(column)}.{together}",
        "serious" if is_certain else "warning",
        column,
        task,
        value,
    )


class RawColumn:
    """A column as codes of its values, and as numbers where it holds numbers or dates."""

    def __init__(self, values: pd.Series) -> None:
        self._values = values
        self.is_missing = values.isna().to_numpy()
        codes, distinct = pd.factorize(values)
        self.codes: Int[np.ndarray, " row"] = codes
        self.n_values = len(distinct)

    @cached_property
    def numbers(self) -> Float[np.ndarray, " row"] | None:
        """As numbers; None if it holds something else."""
        return as_numbers(self._values)


@dataclass(frozen=True, eq=False)
class Labels:
    """All targets at once, with indicator columns whose variances add up to their variation."""

    tasks: tuple[str, ...]
    values: Float[np.ndarray, "row task"]
    is_known: np.ndarray  # row task
    is_binary: np.ndarray  # task
    is_ordered: np.ndarray  # task
    indicators: Float[np.ndarray, "row indicator"]
    task_of: Int[np.ndarray, " indicator"]

    @classmethod
    def of(cls, targets: pd.DataFrame, kinds: Mapping[str, Kind]) -> "Labels":
        """The targets with enough labels that vary."""
        labels = {str(name): targets[name].to_numpy(float) for name in targets}
        distinct = {name: np.unique(each[~np.isnan(each)]) for name, each in labels.items()}
        names = [
            name
            for name, each in labels.items()
            if len(distinct[name]) > 1 and (~np.isnan(each)).sum() >= FEWEST_ROWS
        ]
        indicators: list[np.ndarray] = []
        for name in names:
            each, levels = labels[name], distinct[name]
            if kinds[name] == "classes" and len(levels) <= MOST_CLASSES:
                indicators.append((each[:, None] == levels).astype(float))
            else:
                indicators.append(np.nan_to_num((each - levels[0]) / np.ptp(levels))[:, None])
        nothing = np.empty((len(targets), 0))
        values = np.column_stack([labels[name] for name in names]) if names else nothing
        return cls(
            tuple(names),
            values,
            ~np.isnan(values),
            np.array([len(distinct[name]) == 2 for name in names]),
            np.array([kinds[name] != "classes" for name in names]),
            np.hstack(indicators) if indicators else nothing,
            np.repeat(np.arange(len(names)), [each.shape[1] for each in indicators]),
        )

    def revealed_by(self, column: "RawColumn", least: float) -> Iterator[tuple[str, float, str]]:
        """Each task with a figure of at least `least`, the largest one, and what it says."""
        if not self.tasks:
            return
        said = "of the variation of the target"
        figures = [
            (self.explained(column.codes), f"its values explain {{:.1%}} {said}"),
        ]
        if 0 < column.is_missing.mean() < 1:
            by_missing = self.explained(column.is_missing.astype(int))
            figures.append((by_missing, f"whether it is missing explains {{:.1%}} {said}"))
            alone = "the target alone tells whether it is missing (AUC {:.4f})"
            figures.append((self.separating(column.is_missing), alone))
        if column.n_values == 2:
            alone = "the target alone tells its two values apart (AUC {:.4f})"
            figures.append((self.separating(column.codes == 1, ~column.is_missing), alone))
        if column.numbers is not None:
            ranked = self._ranked(column.numbers)
            single = np.where(self.is_binary, ranked, 0), np.where(self.is_binary, 0, ranked)
            figures.append((single[0], "the AUC of this column alone is {:.4f}"))
            figures.append((single[1], "its rank correlation with the target is {:.4f}"))
            if column.n_values >= FEWEST_DISTINCT:
                by_neighbours = self.explained_by_neighbours(column.numbers)
                figures.append((by_neighbours, f"its neighbouring values explain {{:.1%}} {said}"))
        for place, task in enumerate(self.tasks):
            value, text = max((float(values[place]), text) for values, text in figures)
            if value >= least:
                yield task, value, text.format(value).replace("%", " %")

    def separating(
        self, is_one: Bool[np.ndarray, " row"], is_used: Bool[np.ndarray, " row"] | None = None
    ) -> Float[np.ndarray, " task"]:
        """How well each target of numbers tells these rows from the others (AUC); 0 if few."""
        result = np.zeros(len(self.tasks))
        share = is_one.mean() if is_used is None else is_one[is_used].mean()
        if min(share, 1 - share) < FEWEST_OF_HALF:
            return result
        for place in np.flatnonzero(self.is_ordered & ~self.is_binary):
            rows = self.is_known[:, place] & (True if is_used is None else is_used)
            result[place] = _auc(self.label_ranks[rows, place], is_one[rows])
        return result

    def explained(self, codes: Int[np.ndarray, " row"]) -> Float[np.ndarray, " task"]:
        """Share of the variation explained by the codes, adjusted for their number (omega²).

        Of codes that at least two rows have; 0 if these are less than half of the rows.
        """
        from scipy import sparse

        counts = np.bincount(np.maximum(codes, 0)) if len(codes) else np.zeros(1)
        rows = np.flatnonzero((codes >= 0) & (counts[codes] > 1))
        if len(rows) < max(FEWEST_ROWS, 0.5 * (codes >= 0).sum()):
            return np.zeros(len(self.tasks))
        codes = np.unique(codes[rows], return_inverse=True)[1]
        belongs = sparse.csr_array((np.ones(len(rows)), (codes, np.arange(len(rows)))))
        known = self.is_known[rows].astype(float)
        weight = known[:, self.task_of]
        values = self.indicators[rows] * weight
        counts = belongs @ known  # code task
        in_code = counts[:, self.task_of]
        squares = (values**2).sum(axis=0)
        within = squares - ((belongs @ values) ** 2 / np.maximum(in_code, 1)).sum(axis=0)
        total = squares - values.sum(axis=0) ** 2 / np.maximum(weight.sum(axis=0), 1)
        n_rows, n_codes = known.sum(axis=0), (counts > 0).sum(axis=0)
        within, total = self._by_task(within), self._by_task(total)
        is_defined = (n_codes > 1) & (n_rows - n_codes >= FEWEST_ROWS) & (total > 0)
        if self.is_binary.any():  # few rows of a class agree by chance
            labels = np.where(self.is_known, self.values, np.nan)[rows][:, self.is_binary]
            is_top = labels == np.nanmax(self.values[:, self.is_binary], axis=0)
            n_top = is_top.sum(axis=0)
            fewest = np.minimum(n_top, n_rows[self.is_binary] - n_top)
            is_defined[self.is_binary] &= fewest >= FEWEST_OF_CLASS
        freedom = np.maximum(n_rows - 1, 1) / np.maximum(n_rows - n_codes, 1)
        share = 1 - within / np.where(total > 0, total, 1) * freedom
        return np.where(is_defined, np.maximum(share, 0), 0)

    def explained_by_neighbours(self, numbers: np.ndarray) -> Float[np.ndarray, " task"]:
        """Share of the variation that is the same in neighbouring rows in the column's order."""
        order = np.argsort(numbers, kind="stable")[: int((~np.isnan(numbers)).sum())]
        values, known, numbers = self.indicators[order], self.is_known[order], numbers[order]
        # Equal values say nothing about the order, and one label in a row of many proves little.
        is_step = (known[1:] & known[:-1]) & (np.diff(numbers) > 0)[:, None]  # step task
        count = is_step.sum(axis=0)
        squares = (np.diff(values, axis=0) ** 2 * is_step[:, self.task_of]).sum(axis=0)
        weight = known[:, self.task_of]
        mean = (values * weight).sum(axis=0) / np.maximum(weight.sum(axis=0), 1)
        variance = ((values - mean) ** 2 * weight).sum(axis=0) / np.maximum(weight.sum(axis=0), 1)
        total = self._by_task(variance)
        share = 1 - self._by_task(squares) / np.maximum(count, 1) / (2 * np.where(total, total, 1))
        return np.where((count >= 5 * FEWEST_ROWS) & (total > 0), np.maximum(share, 0), 0)

    def _ranked(self, numbers: np.ndarray) -> Float[np.ndarray, " task"]:
        """AUC for binary targets, rank correlation for numbers; 0 where it is clearly below 0.9."""
        from scipy import stats

        is_number = ~np.isnan(numbers)
        ranks = np.where(is_number, stats.rankdata(numbers, nan_policy="omit"), 0)
        result = np.zeros(len(self.tasks))
        if is_number.sum() < FEWEST_ROWS or np.ptp(numbers[is_number]) == 0:
            return result
        known = self.is_known & is_number[:, None]
        for place in np.flatnonzero(self.is_ordered & (known.sum(axis=0) >= FEWEST_ROWS)):
            rows = known[:, place]
            labels, column_ranks = self.values[rows, place], ranks[rows]
            if np.ptp(labels) == 0 or np.ptp(column_ranks) == 0:
                continue
            if self.is_binary[place]:
                is_positive = labels == labels.max()
                result[place] = _auc(column_ranks, is_positive)
            elif abs(np.corrcoef(column_ranks, self.label_ranks[rows, place])[0, 1]) > 0.8:
                ranked = stats.rankdata(column_ranks), stats.rankdata(labels)
                result[place] = abs(np.corrcoef(*ranked)[0, 1])
        return result

    @cached_property
    def label_ranks(self) -> Float[np.ndarray, "row task"]:
        """The place of each label among those of its task; NaN where it is missing."""
        from scipy import stats

        ranks = stats.rankdata(self.values, axis=0, nan_policy="omit")
        return np.where(self.is_known, ranks, np.nan)

    def _by_task(self, values: np.ndarray) -> Float[np.ndarray, " task"]:
        return np.bincount(self.task_of, weights=values, minlength=len(self.tasks)).astype(float)


def _auc(ranks: np.ndarray, is_positive: np.ndarray) -> float:
    """Area under the ROC curve in the better direction; 0 with fewer than five of a class."""
    from scipy import stats

    n_positive = int(is_positive.sum())
    n_negative = len(ranks) - n_positive
    if min(n_positive, n_negative) < 5:
        return 0.0
    rough = ranks[is_positive].mean() - ranks[~is_positive].mean()
    if abs(rough) < 0.35 * np.ptp(ranks):  # an AUC below about 0.85
        return 0.0
    above = stats.rankdata(ranks)[is_positive].sum() - n_positive * (n_positive + 1) / 2
    auc = float(above / (n_positive * n_negative))
    return max(auc, 1 - auc)


def as_numbers(values: pd.Series) -> Float[np.ndarray, " row"] | None:
    """A column of numbers or dates as floats; None if more than one value in twenty is neither."""
    if pd.api.types.is_numeric_dtype(values):
        numbers = values.to_numpy(dtype=float, na_value=np.nan)
        return np.where(np.isinf(numbers), np.nan, numbers)
    known = values.dropna()
    if known.empty:
        return None
    if pd.api.types.is_datetime64_any_dtype(values):
        dates = pd.to_datetime(values, utc=True)
        seconds = (dates - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(seconds=1)
        return seconds.to_numpy(dtype=float)
    if pd.to_numeric(known.iloc[:200], errors="coerce").notna().mean() < 0.5:  # text, quickly
        return None
    numbers = pd.to_numeric(values, errors="coerce")
    if numbers.notna().sum() >= 0.95 * len(known):
        return numbers.to_numpy(dtype=float)
    return None


def find_similar_neighbours(columns: pd.DataFrame, labels: "Labels") -> Iterator[DataNote]:
    """A note if rows next to each other have similar labels, though no column is in order."""
    for name in columns:
        values = pd.factorize(columns[name])[0]
        if (np.diff(values) != 0).sum() < 2 * len(np.unique(values)) and len(np.unique(values)) > 1:
            numbers = as_numbers(columns[name])
            steps = np.diff(numbers) if numbers is not None else np.diff(values)
            if not ((steps > 0).any() and (steps < 0).any()):
                return
    explained = labels.explained_by_neighbours(np.arange(float(len(columns))))
    share, task = max(zip(explained.tolist(), labels.tasks, strict=True), default=(0.0, ""))
    if share >= 0.5:
        yield DataNote(
            "similar-in-order",
            "Rows next to each other in the table have similar labels (they explain "
            f"{in_percent(share, 1)} of the variation of {task!r}): they seem to be in order of "
            "time, or to be of the same person or thing. Then a random split makes scores too "
            "good. Use --time-column or --group-column; a column with the number of the row can be "
            "the time.",
            "warning",
            task=task,
            value=share,
        )


def _sampled(features: pd.DataFrame, targets: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    n_pairs = max(1, features.shape[1] * targets.shape[1])
    n_rows = max(4000, min(MOST_ROWS, MOST_CELLS // n_pairs))
    if len(features) <= n_rows:
        return features, targets
    rows = np.random.default_rng(0).choice(len(features), n_rows, replace=False)
    return features.iloc[rows], targets.iloc[rows]
