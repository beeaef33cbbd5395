"""Policy: from a grouping to a plan, with reasons in words."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import permutations

import torch

from affinity.estimates import AffinityMatrix, GroupScores
from affinity.grouping import Grouping, Network
from affinity.sharing import SharingSettings
from affinity.words import gain_in_percent

from .measured_sharing import MeasuredSharing, choose_sharing
from .plan import PREDICTED, Plan, PlanProvenance

_ASSUMED = "Hard sharing is assumed: no other way to share was measured."
NOT_MEASURED = "assumed, not measured"


def recommend(
    matrix: AffinityMatrix,
    grouping: Grouping,
    provenance: PlanProvenance | None = None,
    measured: Mapping[frozenset[str], Sequence[MeasuredSharing]] | None = None,
) -> Plan:
    """Choose how each network of `grouping` shares parameters, with the reasons.

    A lone task gets a network of its own. A group uses the way to share that was measured to be
    best at equal size (`choose_sharing`), or hard sharing if none was measured; the reason states
    which. The reasons also list the affinities and mark those within their noise. Affinities are
    estimates from one run; an audit measures the gain of a group.

    Args:
        provenance: The plan's origin; the estimator and the evidence are added.
        measured: For sets of tasks, the measured gain of each way to share
            (`affinity.audit.measure_sharing`).

    Raises:
        InputError: If the grouping serves a task that the matrix does not have.

    Example:
        >>> matrix = AffinityMatrix(
        ...     tasks=("depth", "edges", "keypoints"),
        ...     values=torch.tensor([[0.0, 0.5, -0.5], [0.25, 0.0, -0.5], [-0.5, -0.5, 0.0]]),
        ... )
        >>> groups = Grouping((Network.of("depth", "edges"), Network.of("keypoints")))
        >>> recommend(matrix, groups).sharing
        ('hard', 'separate')
    """
    reasons = [
        _reason_alone(matrix, network)
        if network.is_alone
        else f"{_reason_together(matrix, network)} {_ASSUMED}"
        for network in grouping.networks
    ]
    origin = replace(
        provenance or PlanProvenance(),
        estimator=matrix.estimator,
        evidence="estimated from one run, not measured",
        sharing_evidence=NOT_MEASURED,
    )
    plan = Plan(grouping, _hard(grouping), tuple(reasons), origin)
    return share_as_measured(plan, measured) if measured else plan


def plan_from_predictions(
    scores: GroupScores,
    grouping: Grouping,
    estimator: str,
    provenance: PlanProvenance | None = None,
) -> Plan:
    """The plan of a grouping that was chosen by predicted gains; groups share hard.

    Args:
        scores: Predicted gains of the grouping's networks, 0 for a task alone.
        provenance: What is known of the plan's origin; the estimator and the evidence are added.

    Example:
        >>> from affinity.estimates import CandidateGroup
        >>> scores = GroupScores(("a", "b"), (CandidateGroup({"a": 0.5, "b": 0.25}),))
        >>> plan_from_predictions(scores, Grouping((Network.of("a", "b"),)), "surrogate").reasons[0]
        'Predicted to gain +37.5 % for its tasks over separate networks; not measured.'
    """
    gains = {candidate.trained: candidate.scores for candidate in scores.candidates}

    def reason(network: Network) -> str:
        if network.is_alone:
            return "On its own: no group with it was predicted to gain enough for all tasks."
        predicted = [gains[network.trained][task] for task in sorted(network.served)]
        return (
            f"Predicted to gain {gain_in_percent(sum(predicted) / len(predicted))} for its tasks "
            "over separate networks; not measured."
        )

    origin = replace(
        provenance or PlanProvenance(),
        estimator=estimator,
        evidence=PREDICTED,
        sharing_evidence=NOT_MEASURED,
    )
    return Plan(grouping, _hard(grouping), tuple(map(reason, grouping.networks)), origin)


def share_as_measured(
    plan: Plan,
    measured: Mapping[frozenset[str], Sequence[MeasuredSharing]],
    note: str = "",
    tolerance: float = 0.0,
) -> Plan:
    """The plan in which each network uses the way to share that was measured to be best.

    Args:
        plan: Any plan; the reasons of its grouping stay.
        measured: For sets of tasks, the measured gain of each way to share (`choose_sharing`).
        note: Which ways were not tried, for the reasons.
        tolerance: A mean gain or loss up to this counts as equal to hard sharing.
    """
    sharing, reasons, settings = list(plan.sharing), list(plan.reasons), list(plan.settings)
    for position, network in enumerate(plan.grouping.networks):
        if results := measured.get(network.trained):
            sharing[position], why = choose_sharing(results, tolerance)
            settings[position] = next(
                result.settings for result in results if result.sharing == sharing[position]
            )
            reasons[position] = (
                f"{reasons[position].removesuffix(_ASSUMED).rstrip()} {why} {note}".rstrip()
            )
    provenance = replace(plan.provenance, sharing_evidence="measured at equal parameters")
    return replace(
        plan,
        sharing=tuple(sharing),
        reasons=tuple(reasons),
        settings=tuple(settings),
        provenance=provenance,
    )


def share_as_given(
    plan: Plan,
    sharing: str,
    settings: SharingSettings | None = None,
    why: str = "The way to share was given.",
    evidence: str = "given",
) -> Plan:
    """The same networks, but those of several tasks all share in this way.

    Args:
        sharing: A name in `SHARINGS`.
        settings: Its settings; the usual ones if None.
        why: Why, for the reasons.
        evidence: The plan's `sharing_evidence`.

    Example:
        >>> share_as_given(Plan.all_in_one(("depth", "edges")), "mmoe").sharing
        ('mmoe',)
    """
    networks = plan.grouping.networks
    return replace(
        plan,
        sharing=tuple("separate" if each.is_alone else sharing for each in networks),
        reasons=tuple(
            reason if each.is_alone else f"{reason.removesuffix(_ASSUMED).rstrip()} {why}"
            for each, reason in zip(networks, plan.reasons, strict=True)
        ),
        settings=tuple({} if each.is_alone else dict(settings or {}) for each in networks),
        provenance=replace(plan.provenance, sharing_evidence=evidence),
    )


def _hard(grouping: Grouping) -> tuple[str, ...]:
    return tuple("separate" if network.is_alone else "hard" for network in grouping.networks)


def _reason_together(matrix: AffinityMatrix, network: Network) -> str:
    pairs = [
        (matrix.between(source, target), source, target)
        for source, target in permutations(sorted(network.trained), 2)
        if target in network.served
    ]
    known = [pair for pair in pairs if pair[0] == pair[0]]
    if not known:
        return "No affinity was measured between these tasks; grouped by default."
    mean = sum(value for value, *_ in known) / len(known)
    best, worst = max(known), min(known)
    text = f"Mean affinity {mean:+.3g} over {len(known)} directed pairs"
    if len(known) > 1:
        text += (
            f", from {worst[0]:+.3g} ({worst[1]} onto {worst[2]}) to {best[0]:+.3g} "
            f"({best[1]} onto {best[2]})"
        )
    within_noise = sum(_is_within_noise(matrix, source, target) for _, source, target in known)
    if within_noise:
        text += f"; {within_noise} of them within two standard errors of 0"
    return text + "."


def _reason_alone(matrix: AffinityMatrix, network: Network) -> str:
    (task,) = network.trained
    known = [(value, source) for source, value in matrix.onto(task).items() if value == value]
    if not known:
        return "No affinity onto this task was measured."
    best, source = max(known)
    text = f"Its best partner would be {source} with an affinity of {best:+.3g}"
    if best <= 0:
        return text + ": no task is estimated to help it."
    if _is_within_noise(matrix, source, task):
        return text + ", which is within two standard errors of 0."
    return text + ", but that partner does more good (or less harm) in another network."


def _is_within_noise(matrix: AffinityMatrix, source: str, target: str) -> bool:
    if matrix.standard_error is None:
        return False
    row, column = matrix.tasks.index(source), matrix.tasks.index(target)
    error = matrix.standard_error[row, column]
    return bool(torch.abs(matrix.values[row, column]) < 2 * error)
