"""Notes on a table: leaks, related rows, and time that runs the wrong way."""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
from jaxtyping import Int

from affinity.reading import DataNote, Kind

from .leaks import Labels, find_derived_targets, find_leaks, find_similar_neighbours
from .related_rows import (
    find_copied_rows,
    find_group_columns,
    find_near_rows,
    find_signs_of_time,
    find_wrong_order,
)

MOSTLY = 0.9  # share of rows from which on something holds of most of them


def notes_on_table(
    features: pd.DataFrame,
    targets: pd.DataFrame,
    kinds: Mapping[str, Kind],
    development: Int[np.ndarray, " development"],
    test: Int[np.ndarray, " test"],
    *,
    dates: pd.DataFrame,
    times: pd.Series | None = None,
    is_grouped: bool = False,
    is_random: bool = True,
) -> Iterator[DataNote]:
    """What may make scores on this table too good.

    Features are the columns that are not targets, excluded or special; missing labels are NaN.
    """
    known = features.assign(**{str(name): dates[name] for name in dates})
    everything = pd.concat([known, targets.add_suffix(" (target)")], axis=1)
    hashes, of_features = map(_hashes, (everything, known))
    copies = find_copied_rows(everything, hashes, development, test)
    if not copies and _has_unique_values(known[~pd.Series(of_features).duplicated().to_numpy()]):
        copies = find_copied_rows(known, of_features, development, test, "in all features")
        hashes = of_features if copies else hashes
    different = development[~pd.Series(hashes[development]).duplicated().to_numpy()]
    seen, labels = known.iloc[different], targets.iloc[different]
    leaks = find_leaks(seen, labels, kinds)
    yield from leaks
    yield from find_derived_targets(labels, kinds)
    if not is_grouped:
        noted = [str(note.column) for note in leaks if "--group-column" in note.message]
        named = find_group_columns(seen.drop(columns=list(dates)), labels, kinds, noted)
        yield from named
        if not named and not noted:
            near = [] if copies else find_near_rows(known, different, test)
            yield from near
            if is_random and not near and not copies:
                rows = np.sort(different)
                yield from find_similar_neighbours(
                    everything.iloc[rows], Labels.of(targets.iloc[rows], kinds)
                )
    yield from copies
    if times is not None:
        later = {str(name): dates[name].to_numpy(float) for name in dates}
        name = str(times.name)
        yield from find_wrong_order({**later, name: times.to_numpy()}, name, development, test)
    elif is_random:
        yield from find_signs_of_time(dates.iloc[different], labels, kinds)
    else:
        for name in map(str, dates):
            column = {name: dates[name].to_numpy(float)}
            notes = find_wrong_order(column, name, development, test)
            yield from (note for note in notes if (note.value or 0.0) > MOSTLY)


def _hashes(columns: pd.DataFrame) -> np.ndarray:
    return pd.util.hash_pandas_object(columns, index=False).to_numpy()


def _has_unique_values(different: pd.DataFrame) -> bool:
    """Whether two columns of numbers hardly repeat, so that equal rows are copies."""
    numbers = different.select_dtypes("number")
    return int((numbers.nunique() > MOSTLY * len(numbers)).sum()) > 1
