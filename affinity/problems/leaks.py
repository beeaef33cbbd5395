"""Leaks: features that reveal a target."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from .kinds import Kind

MOST_CORRELATED = 0.999


def find_leaks(
    features: pd.DataFrame, targets: pd.DataFrame, kinds: Mapping[str, Kind]
) -> list[tuple[str, str, str]]:
    """Pairs of a feature and a target that it reveals, each with the reason.

    A feature leaks a target if their correlation exceeds 0.999 in size, or if every value of the
    feature that comes at least twice always comes with the same label, while such values cover
    nine rows in ten and each value covers five rows on average.

    Example:
        >>> label = pd.Series([0.0, 1.0] * 10)
        >>> frame = pd.DataFrame({"code": label.map({0.0: "a", 1.0: "b"}), "age": range(20)})
        >>> find_leaks(frame, pd.DataFrame({"sick": label}), {"sick": "binary"})
        [('code', 'sick', 'each of its values always comes with the same label')]
    """
    leaks: list[tuple[str, str, str]] = []
    for feature in map(str, features.columns):
        values = features[feature]
        code, distinct = pd.factorize(values)
        for target in map(str, targets.columns):
            label = targets[target].to_numpy(float)
            known = (code >= 0) & ~np.isnan(label)
            if known.sum() < 10 or np.ptp(label[known]) == 0:
                continue
            if pd.api.types.is_numeric_dtype(values) and kinds[target] != "classes":
                correlation = _correlation(values.to_numpy(float)[known], label[known])
                if abs(correlation) > MOST_CORRELATED:
                    reason = f"its correlation with the target is {correlation:.4f}"
                    leaks.append((feature, target, reason))
                    continue
            if len(distinct) * 5 <= known.sum() and _determines(code[known], label[known]):
                reason = "each of its values always comes with the same label"
                leaks.append((feature, target, reason))
    return leaks


def _correlation(values: np.ndarray, label: np.ndarray) -> float:
    if np.ptp(values) == 0:
        return 0.0
    return float(np.corrcoef(values, label)[0, 1])


def _determines(code: np.ndarray, label: np.ndarray) -> bool:
    """Whether the labels do not vary within any value that comes at least twice."""
    label = label - label[0]
    count = np.bincount(code)
    total = np.bincount(code, weights=label)
    squares = np.bincount(code, weights=label**2)
    spread = squares - total**2 / np.maximum(count, 1)
    is_repeated = count >= 2
    covered = count[is_repeated].sum() / count.sum()
    return bool(covered >= 0.9 and (spread[is_repeated] <= 1e-9 * (1 + squares[is_repeated])).all())
