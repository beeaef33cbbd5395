"""Blocks of tasks: where tasks are many, those of similar affinities are trained together."""

from collections.abc import Sequence

import numpy as np

from affinity.estimates import AffinityMatrix

MOST_BLOCKS = 40
"""The number of tasks up to which each is a block of its own."""

_MOST_DIRECTIONS = 20


def blocks_of(
    tasks: Sequence[str], matrices: Sequence[AffinityMatrix], most: int = MOST_BLOCKS
) -> tuple[frozenset[str], ...]:
    """A partition of the tasks into at most `most` blocks.

    Each task is a block of its own as long as there are no more than `most`. Above, tasks are
    clustered (k-means) by the leading eigenvectors of their mean symmetric affinity, so that a
    task's affinities to all others count, and errors of single pairs average out. Without
    affinities, the blocks are equally large and otherwise arbitrary.
    """
    if len(tasks) <= most:
        return tuple(frozenset({task}) for task in tasks)
    if not matrices:
        return tuple(frozenset(part) for part in np.array_split(np.array(tasks), most))
    total = np.zeros((len(tasks), len(tasks)))
    off_diagonal = ~np.eye(len(tasks), dtype=bool)
    for matrix in matrices:
        order = [matrix.tasks.index(task) for task in tasks]
        values = matrix.values.double().numpy()[np.ix_(order, order)]
        values = (values + values.T) / 2
        known = values[off_diagonal & np.isfinite(values)]
        if known.std() > 0:
            total += np.nan_to_num((values - known.mean()) / known.std()) * off_diagonal
    sizes, directions = np.linalg.eigh(total)
    leading = np.argsort(-np.abs(sizes))[:_MOST_DIRECTIONS]
    places = directions[:, leading] * np.abs(sizes[leading]) ** 0.5
    from sklearn.cluster import KMeans

    labels = KMeans(most, random_state=0).fit_predict(places)
    return tuple(
        frozenset(np.array(tasks)[labels == label].tolist()) for label in np.unique(labels)
    )
