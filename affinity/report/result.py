"""The whole result as plain values, for programs that read the page."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from affinity.audit import Audit
from affinity.estimates import AffinityMatrix
from affinity.grouping import Stability

from .order import clustered_order
from .other_groupings import Choice, networks_of


def result_of(
    audit: Audit,
    matrices: Sequence[AffinityMatrix] = (),
    choices: Sequence[Choice] = (),
    stability: Stability | None = None,
    diagnosis: Mapping[str, Any] | None = None,
    outer: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """`audit.to_dict()`, affinities and groupings, as `schema` says; what is unknown is None."""
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
        "frontier": [
            {
                "budget": choice.budget,
                "networks": choice.networks,
                "score": choice.grouping.score,
                "is_plan": choice.is_plan,
            }
            for choice in choices
        ],
        "diagnosis": None if diagnosis is None else dict(diagnosis),
        "outer": None if outer is None else dict(outer),
        "stability": None
        if stability is None
        else {
            "n_replicates": stability.n_replicates,
            "frequency": stability.frequency,
            "tasks": list(stability.tasks),
            "together": stability.together.tolist(),
            "runners_up": [
                {
                    "networks": networks_of(other.grouping),
                    "distance": other.distance,
                    "frequency": other.frequency,
                }
                for other in stability.runners_up
            ],
        },
    }


def _plain(square: Tensor) -> list[list[float | None]]:
    """Six digits are more than any estimate has, and keep pages of many tasks small."""
    return [
        [float(f"{value:.6g}") if np.isfinite(value) else None for value in row]
        for row in square.double().tolist()
    ]
