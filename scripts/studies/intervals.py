"""Means with 95 % intervals, and how a study writes them down."""

from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

ROOT = Path(__file__).parents[2]


def interval(values: pd.Series) -> pd.Series:
    """Mean and half the width of the 95 % t interval over seeds."""
    values = values.dropna()
    count = len(values)
    half = stats.t.ppf(0.975, count - 1) * values.std(ddof=1) / np.sqrt(count) if count > 1 else 0
    return pd.Series({"mean": values.mean(), "half": half, "seeds": count})


def share(successes: int, count: int) -> tuple[float, float]:
    """95 % Wilson interval of a share."""
    result = stats.binomtest(successes, count).proportion_ci(method="wilson")
    return float(result.low), float(result.high)


def shown(mean: float, half: float, digits: int = 4) -> str:
    return f"{mean:.{digits}f} ± {half:.{digits}f}"


def markdown(frame: pd.DataFrame) -> str:
    rows = [list(map(str, frame.columns)), ["---"] * len(frame.columns)]
    rows += [[str(value) for value in row] for row in frame.itertuples(index=False)]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)
