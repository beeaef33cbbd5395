"""Plain values: what a result says, ready for JSON."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from affinity.files import write_atomically


def plain(value: Any) -> Any:
    """The value with lists for tuples and Python's own numbers; what is undefined is None.

    Example:
        >>> plain({"gain": np.float64(0.5), "ends": (float("nan"), 1)})
        {'gain': 0.5, 'ends': [None, 1]}
    """
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    if isinstance(value, np.integer):
        return int(value)
    return value


def to_json(facts: Mapping[str, Any], path: str | Path | None = None) -> str:
    """Plain values as JSON; also written to `path`, if one is given."""
    text = json.dumps(facts, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    if path is not None:
        write_atomically(path, text)
    return text
