"""The whole result as one object, for programs that read the page."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from torch import Tensor

from affinity.audit import (
    Audit,
    AuditSummary,
    Diagnosis,
    DiagnosisSummary,
    HoldoutSummary,
    RepeatedHoldout,
)
from affinity.estimates import AffinityMatrix
from affinity.grouping import Stability

from .order import clustered_order
from .other_groupings import Choice, networks_of

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
class ChoiceSummary:
    """The best grouping for one budget, by estimated affinity."""

    budget: int
    networks: list[list[str]]
    score: float | None
    is_plan: bool


@dataclass(frozen=True)
class RunnerUpSummary:
    """Another grouping: how much less it scores, and how often it is the best."""

    networks: list[list[str]]
    distance: float | None
    frequency: float | None


@dataclass(frozen=True)
class StabilitySummary:
    """How sure the grouping is.

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
    """What the page holds: the audit's summary, and in pages only what follows it.

    Args:
        affinity: The estimates, the plan's first.
        frontier: The best grouping for each budget, by estimated affinity.
        diagnosis: Why sharing does harm.
        holdout: The same procedure on other test splits.
        stability: How sure the grouping is.
    """

    affinity: tuple[MatrixSummary, ...] = ()
    frontier: tuple[ChoiceSummary, ...] = ()
    diagnosis: DiagnosisSummary | None = None
    holdout: HoldoutSummary | None = None
    stability: StabilitySummary | None = None


def result_of(
    audit: Audit,
    matrices: Sequence[AffinityMatrix] = (),
    choices: Sequence[Choice] = (),
    stability: Stability | None = None,
    diagnosis: Diagnosis | None = None,
    holdout: RepeatedHoldout | None = None,
) -> PageResult:
    """The audit's summary, affinities and groupings; what is unknown is None."""
    summary, grouping = audit.summary(), audit.plan.grouping
    return PageResult(
        **{field.name: getattr(summary, field.name) for field in fields(summary)},
        affinity=tuple(
            MatrixSummary(
                estimator=matrix.estimator,
                tasks=matrix.tasks,
                order=tuple(
                    clustered_order(
                        matrix, grouping if grouping.tasks == frozenset(matrix.tasks) else None
                    )
                ),
                values=_rounded(matrix.values),
                standard_error=(
                    None if matrix.standard_error is None else _rounded(matrix.standard_error)
                ),
                n_steps=(
                    None if matrix.n_steps is None else tuple(map(tuple, matrix.n_steps.tolist()))
                ),
            )
            for matrix in matrices
        ),
        frontier=tuple(
            ChoiceSummary(choice.budget, choice.networks, choice.grouping.score, choice.is_plan)
            for choice in choices
        ),
        diagnosis=None if diagnosis is None else diagnosis.summary(),
        holdout=None if holdout is None else holdout.summary(),
        stability=None if stability is None else _summarize(stability),
    )


def _summarize(stability: Stability) -> StabilitySummary:
    return StabilitySummary(
        n_replicates=stability.n_replicates,
        frequency=stability.frequency,
        tasks=stability.tasks,
        together=tuple(map(tuple, stability.together.tolist())),
        runners_up=tuple(
            RunnerUpSummary(networks_of(other.grouping), other.distance, other.frequency)
            for other in stability.runners_up
        ),
    )


def _rounded(square: Tensor) -> Square:
    """Six digits are more than any estimate has, and keep pages of many tasks small."""
    return tuple(
        tuple(float(f"{value:.6g}") if np.isfinite(value) else None for value in row)
        for row in square.double().tolist()
    )
