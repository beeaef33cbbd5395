"""Notes on a table: leaks, related rows, and time that runs the wrong way."""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
from jaxtyping import Int

from .kinds import Kind
from .leaks import find_derived_targets, find_leaks
from .note import DataNote
from .related_rows import (
    find_copied_rows,
    find_group_columns,
    find_near_rows,
    find_signs_of_time,
    find_wrong_order,
)


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
) -> Iterator[DataNote]:
    """What may make scores on this table too good.

    Args:
        features: The columns that are not targets, excluded or special, as in the table.
        targets: Labels as numbers, NaN where missing.
        kinds: Kind of each target.
        development: Numbers of the development rows.
        test: Numbers of the test rows.
        dates: The columns of dates among the features, as numbers.
        times: The time of each row as a number, named as its column; None without one.
        is_grouped: Whether rows of one group are kept together.
    """
    known = features.assign(**{str(name): dates[name] for name in dates})
    everything = pd.concat([known, targets.add_suffix(" (target)")], axis=1)
    hashes = pd.util.hash_pandas_object(everything, index=False).to_numpy()
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
            yield from find_near_rows(known, different, test)
    yield from find_copied_rows(everything, hashes, development, test)
    if times is None:
        yield from find_signs_of_time(dates.iloc[different], labels, kinds)
    else:
        later = {str(name): dates[name].to_numpy(float) for name in dates}
        name = str(times.name)
        yield from find_wrong_order({**later, name: times.to_numpy()}, name, development, test)
