"""HiGHS: the solver of integer programs that comes with SciPy."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from jaxtyping import Float64

_SCALE = 1e4  # HiGHS stops within 1e-6 of the optimum, even if a smaller gap is set


@dataclass(frozen=True, eq=False)
class Solution:
    """The result of an integer program."""

    # of the variables; None if no solution was found
    values: Float64[np.ndarray, "variable"] | None
    bound: float  # upper, of the score; minus infinity if there is no solution
    is_proven: bool  # proven best, or proven not to exist


def maximize(
    scores: Float64[np.ndarray, "variable"],
    constraints: Sequence[Any],
    seconds: float = float("inf"),
    at_least: Float64[np.ndarray, "variable"] | float = 0.0,
    at_most: Float64[np.ndarray, "variable"] | float = 1.0,
) -> Solution:
    """Choose integers of highest total score."""
    from scipy.optimize import Bounds, milp

    scale = _SCALE / (float(np.abs(scores).max(initial=0.0)) or 1.0)
    options: dict[str, float] = {"mip_rel_gap": 0.0}
    if seconds < float("inf"):
        options["time_limit"] = seconds
    result = milp(
        -scale * scores,
        integrality=np.ones(len(scores), dtype=np.int64),
        bounds=Bounds(at_least, at_most),
        constraints=constraints,
        options=cast(Any, options),
    )
    if result.status == 2:
        return Solution(None, -np.inf, is_proven=True)
    dual = cast("float | None", result.get("mip_dual_bound"))
    bound = np.inf if dual is None else -dual / scale
    values = None if result.x is None else np.asarray(result.x, dtype=np.float64)
    return Solution(values, bound, is_proven=result.status == 0)
