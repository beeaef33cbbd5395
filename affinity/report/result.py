"""The whole result as plain values, for programs that read the page."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from affinity.audit import Audit
from affinity.estimates import AffinityMatrix

from .order import clustered_order


def result_of(audit: Audit, matrices: Sequence[AffinityMatrix] = ()) -> dict[str, Any]:
    """`audit.to_dict()`, and the affinities; what is unknown is None."""
    grouping = audit.plan.grouping
    return {
        **audit.to_dict(),
        "affinity": [
            {
                "estimator": matrix.estimator,
                "tasks": list(matrix.tasks),
                "order": clustered_order(
                    matrix, grouping if grouping.tasks == frozenset(matrix.tasks) else None
                ),
                "values": _plain(matrix.values),
                "standard_error": (
                    None if matrix.standard_error is None else _plain(matrix.standard_error)
                ),
                "n_steps": None if matrix.n_steps is None else matrix.n_steps.tolist(),
            }
            for matrix in matrices
        ],
    }


def _plain(square: Tensor) -> list[list[float | None]]:
    """Six digits are more than any estimate has, and keep pages of many tasks small."""
    return [
        [float(f"{value:.6g}") if np.isfinite(value) else None for value in row]
        for row in square.double().tolist()
    ]
