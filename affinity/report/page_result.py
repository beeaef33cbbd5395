"""The result inside a page, for programs: the audit's summary and everything else it shows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from affinity.audit import AuditSummary, DiagnosisSummary, HoldoutSummary, ObjectivesSummary
from affinity.estimates import AffinityMatrix
from affinity.grouping import Grouping, Stability
from affinity.storage import json_schema

from .alternatives import BudgetChoice, served_tasks
from .order import clustered_order

Square = tuple[tuple[float | None, ...], ...]


@dataclass(frozen=True)
class MatrixSummary:
    """Affinities of one estimator.

    Args:
        estimator: Its name and settings.
        tasks: Of both axes.
        order: Positions of the tasks as drawn.
        values: Rows are sources, columns are targets; above 0 helps.
        standard_error: Of each value.
        n_steps: How many measurements each value averages.
    """

    estimator: str | None
    tasks: tuple[str, ...]
    order: tuple[int, ...]
    values: Square
    standard_error: Square | None
    n_steps: tuple[tuple[int, ...], ...] | None


@dataclass(frozen=True)
class RunnerUpSummary:
    """Another grouping: how much less it scores, and how often it is the best."""

    networks: list[list[str]]
    distance: float | None
    frequency: float | None


@dataclass(frozen=True)
class StabilitySummary:
    """How stable the grouping is when affinities are resampled within their errors.

    Args:
        n_replicates: How many matrices were solved.
        frequency: How often the best grouping is the best again. A share: 0.05 is 5 %.
        tasks: Of both axes of `together`.
        together: How often one network serves both tasks.
        runners_up: Other groupings, the best first.
    """

    n_replicates: int
    frequency: float | None
    tasks: tuple[str, ...]
    together: Square
    runners_up: tuple[RunnerUpSummary, ...]


@dataclass(frozen=True)
class PageResult(AuditSummary):
    """An audit's summary as in `audit.json`, and in pages everything else that they show.

    Args:
        affinity: The estimates, the plan's first.
        frontier: The best grouping for each budget, by estimated affinity.
        diagnosis: Why sharing does harm.
        holdout: The same procedure on other test splits.
        objectives: The gains with each way to combine the losses.
        stability: How stable the grouping is.
    """

    affinity: tuple[MatrixSummary, ...] = ()
    frontier: tuple[BudgetChoice, ...] = ()
    diagnosis: DiagnosisSummary | None = None
    holdout: HoldoutSummary | None = None
    objectives: ObjectivesSummary | None = None
    stability: StabilitySummary | None = None


def schema() -> dict[str, Any]:
    """The JSON Schema of `audit.json` and of the result inside a page, from their types.

    Example:
        >>> schema()["$defs"]["PageResult"]["properties"]["schema_version"]
        {'type': 'integer'}
    """
    return json_schema(PageResult)


def summarize_matrices(
    matrices: Sequence[AffinityMatrix], grouping: Grouping | None = None
) -> tuple[MatrixSummary, ...]:
    """The matrices, each with the order of its tasks as drawn."""
    return tuple(
        MatrixSummary(
            estimator=matrix.estimator,
            tasks=matrix.tasks,
            order=tuple(clustered_order(matrix, _fitting(grouping, matrix))),
            values=_round(matrix.values),
            standard_error=None if matrix.standard_error is None else _round(matrix.standard_error),
            n_steps=None if matrix.n_steps is None else tuple(map(tuple, matrix.n_steps.tolist())),
        )
        for matrix in matrices
    )


def summarize_stability(stability: Stability) -> StabilitySummary:
    """The frequencies and the runners-up."""
    return StabilitySummary(
        n_replicates=stability.n_replicates,
        frequency=stability.frequency,
        tasks=stability.tasks,
        together=tuple(map(tuple, stability.together.tolist())),
        runners_up=tuple(
            RunnerUpSummary(served_tasks(other.grouping), other.distance, other.frequency)
            for other in stability.runners_up
        ),
    )


def _fitting(grouping: Grouping | None, matrix: AffinityMatrix) -> Grouping | None:
    """The grouping, if it is of the matrix's tasks."""
    is_fitting = grouping is not None and grouping.tasks == frozenset(matrix.tasks)
    return grouping if is_fitting else None


def _round(square: Tensor) -> Square:
    """Six significant digits, which keep pages of many tasks small."""
    return tuple(
        tuple(float(f"{value:.6g}") if np.isfinite(value) else None for value in row)
        for row in square.double().tolist()
    )
