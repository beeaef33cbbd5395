"""Summaries of audits and diagnoses, as in JSON files; undefined numbers are None."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from affinity.sharing import SharingSettings
from affinity.statistics import Gains, Verdict, VerdictName, interval
from affinity.tasks.score import GainUnit

from .agreement import Agreement
from .alert import Alert
from .context import AuditContext
from .gates import Gates

SCHEMA_VERSION = 2


@dataclass(frozen=True)
class MeanSummary:
    """A mean over replicates with its 95 % interval, in the overall gain's unit by default."""

    mean: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class VerdictSummary:
    """A verdict on a gain.

    Args:
        verdict: Harmful, neutral, beneficial or undecided.
        gain: Mean gain over separate networks, in its unit.
        low: Lower end of its 95 % interval.
        high: Upper end.
        p_value: Adjusted for the number of tasks.
        detectable: Smallest true gain or loss that such an audit detects with probability 80 %.
        needed: Approximate number of replicates with which an audit would reach a verdict with
            probability 80 %, if the true gain were the measured one.
        unit: Unit of the gain: "relative" to the separate networks' score, a "difference" of
            scores, or, for tasks with different units, the "common" scale, on which 0.01 is the
            smallest gain that matters.
    """

    verdict: VerdictName
    gain: float | None
    low: float | None
    high: float | None
    p_value: float | None
    detectable: float | None
    needed: int | None
    unit: GainUnit


@dataclass(frozen=True)
class TaskSummary:
    """The results of an audit for one task.

    Args:
        name: The task's name.
        verdict: The plan against a separate network.
        gain: Mean gain of the plan, in its unit.
        low: Lower end of its 95 % interval.
        high: Upper end.
        p_value: Adjusted for the number of tasks.
        detectable: Smallest true gain or loss that such an audit detects with probability 80 %.
        needed: Approximate number of replicates with which an audit would reach a verdict.
        unit: Unit of this task's gains: "relative" or a "difference" of scores.
        all_in_one: One network for all tasks against a separate network.
        loss: Mean test loss by candidate; for external trainers, their test score.
        metric_name: Name of the metric.
        metric: Mean test metric by candidate.
        metric_difference: The plan's improvement of the metric, in the metric's unit.
    """

    name: str
    verdict: VerdictName
    gain: float | None
    low: float | None
    high: float | None
    p_value: float | None
    detectable: float | None
    needed: int | None
    unit: GainUnit
    all_in_one: VerdictSummary
    loss: Mapping[str, float | None]
    metric_name: str
    metric: Mapping[str, float | None]
    metric_difference: MeanSummary


@dataclass(frozen=True)
class GatesSummary:
    """Weights that the gates of a mixture of experts give on validation rows.

    Args:
        tasks: The tasks; each has one gate.
        utilization: Mean weight of each expert, by replicate and gate.
        entropy: Normalized entropy of the weights, by replicate and gate; 1: all weights are equal.
        polarized: Number of replicates in which each gate uses a single expert.
        identical: Number of replicates in which two experts are identical.
    """

    tasks: tuple[str, ...]
    utilization: tuple[tuple[tuple[float | None, ...], ...], ...]
    entropy: tuple[tuple[float | None, ...], ...]
    polarized: tuple[int, ...]
    identical: int


@dataclass(frozen=True)
class NetworkSummary:
    """One network of the plan.

    Args:
        serves: Tasks that it predicts.
        trains: Tasks that it is trained on.
        sharing: How its tasks share parameters.
        settings: Settings of this way to share that are not the usual ones.
        reason: Why its tasks share this way.
        parameters: Number of its parameters; None if not counted.
        multiply_adds: Multiply-adds to predict one row.
        gates: Statistics of its gates, if it is a mixture of experts.
    """

    serves: tuple[str, ...]
    trains: tuple[str, ...]
    sharing: str
    settings: SharingSettings
    reason: str
    parameters: int | None
    multiply_adds: int | None
    gates: GatesSummary | None


@dataclass(frozen=True)
class GroupingSummary:
    """The certificate of the plan's grouping.

    Args:
        score: Sum over the tasks of the score of the task in its network.
        bound: No grouping scores above this.
        is_optimal: Whether the score reaches the bound.
        solver: The solver that found the grouping.
    """

    score: float | None
    bound: float | None
    is_optimal: bool
    solver: str | None


@dataclass(frozen=True)
class CandidateSummary:
    """The plan or a baseline.

    Args:
        networks: Number of networks.
        width: Width of the trunks.
        parameters: Total number of parameters of its networks; None if unknown.
        multiply_adds: Multiply-adds to predict one row for all tasks.
        seconds: Training time per replicate.
        verdict: Verdict on the mean gain over the tasks, against separate networks.
        gain: Mean gain over the tasks on test rows.
        evaluation_gain: Mean gain over the tasks on the rows used for decisions.
        unfinished: Share of tasks, over all replicates, whose network was still improving when its
            limit on epochs ended its training.
    """

    networks: int
    width: int | None
    parameters: int | None
    multiply_adds: int | None
    seconds: float | None
    verdict: VerdictName
    gain: MeanSummary
    evaluation_gain: MeanSummary
    unfinished: float = 0.0


@dataclass(frozen=True)
class ReferenceTask:
    """Gradient boosting on one task.

    Args:
        score: Mean test score, in the unit of the networks' scores.
        metric: Mean test metric.
        verdict: Gradient boosting against the advised networks.
    """

    score: float | None
    metric: float | None
    verdict: VerdictSummary


@dataclass(frozen=True)
class ReferenceSummary:
    """A model per task that shares nothing and is no network.

    Args:
        name: What it is.
        n_replicates: Number of replicates, the first of the audit's.
        seconds: Time per replicate.
        gain: Mean gain over separate networks.
        overall: Verdict on its mean gain over the advised networks; if it is beneficial, these
            networks are not worth their training, shared or not.
        tasks: One entry per task.
    """

    name: str
    n_replicates: int
    seconds: float
    gain: MeanSummary
    overall: VerdictSummary
    tasks: Mapping[str, ReferenceTask]


@dataclass(frozen=True)
class AuditSummary:
    """The results of an audit, as in `audit.json`; unknown and undefined values are null.

    Args:
        schema_version: Version of this format; it changes when a field changes its meaning.
        problem: The problem's name.
        n_replicates: Trainings of each candidate, each with its own data split and seed.
        advice: The candidate to use, by name; chosen on rows that are not test rows.
        overall: Verdict on the mean gain over the tasks: the plan against separate networks.
        left_out_of_means: Tasks with too few test labels: they are not part of any mean gain over
            tasks, and do not decide what is advised.
        alerts: Reasons to be careful with the result, the most serious first.
        tasks: One entry per task.
        networks: The networks of the plan; each task is served by exactly one.
        grouping: The certificate of the plan's grouping.
        candidates: By name: plan, separate, all-in-one, random, and separate and all-in-one at
            the plan's number of parameters.
        agreement: How well affinities predicted the gains.
        context: How the audit was made, and its limitations.
        reference: Gradient boosting per task on the same rows.
    """

    schema_version: int
    problem: str
    n_replicates: int
    advice: str
    overall: VerdictSummary
    alerts: tuple[Alert, ...]
    tasks: tuple[TaskSummary, ...]
    networks: tuple[NetworkSummary, ...]
    grouping: GroupingSummary
    candidates: Mapping[str, CandidateSummary]
    agreement: Agreement | None
    context: AuditContext
    reference: ReferenceSummary | None = None
    left_out_of_means: tuple[str, ...] = ()


def summarize_verdict(verdict: Verdict) -> VerdictSummary:
    """The verdict without the task's name."""
    return VerdictSummary(
        verdict=verdict.verdict,
        gain=finite(verdict.gain),
        low=finite(verdict.low),
        high=finite(verdict.high),
        p_value=finite(verdict.p_value),
        detectable=finite(verdict.detectable),
        needed=verdict.needed,
        unit=verdict.unit,
    )


def summarize_mean(values: np.ndarray) -> MeanSummary:
    """The mean of one value per replicate, with its interval."""
    low, high = interval(values)
    return MeanSummary(finite(values.mean()), finite(low), finite(high))


def finite(number: float | np.ndarray) -> float | None:
    """The number, or None if it is undefined or infinite."""
    return float(number) if math.isfinite(number) else None


def summarize_gates(gates: Gates) -> GatesSummary:
    """The figures of the gates, rounded to four digits."""
    utilization, entropy = (
        part.double().round(decimals=4).tolist() for part in (gates.utilization, gates.entropy)
    )
    return GatesSummary(
        tasks=gates.tasks,
        utilization=tuple(tuple(map(tuple, replicate)) for replicate in utilization),
        entropy=tuple(map(tuple, entropy)),
        polarized=tuple(gates.polarized.sum(dim=0).tolist()),
        identical=int(gates.identical.sum()),
    )


def summarize_gain(gains: Gains) -> MeanSummary:
    """The mean gain over the tasks, with its interval."""
    estimate = gains.estimate_overall()
    low, high = estimate.interval()
    return MeanSummary(finite(estimate.mean[0]), finite(low[0]), finite(high[0]))
