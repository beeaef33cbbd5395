"""The policy: from a grouping to a plan, with reasons in words."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import permutations
from typing import Any

import torch

from affinity.estimates import AffinityMatrix
from affinity.grouping import Grouping, Network

from .measured_sharing import MeasuredSharing, choose_sharing
from .plan import Plan, Sharing


def recommend(
    matrix: AffinityMatrix,
    grouping: Grouping,
    provenance: Mapping[str, Any] | None = None,
    measured: Mapping[frozenset[str], Sequence[MeasuredSharing]] | None = None,
) -> Plan:
    """Say how each network of `grouping` should share, and why.

    A lone task gets a network of its own. A group shares in the way that was measured to be best
    at equal size (`choose_sharing`); where nothing was measured it shares hard, and the reason
    says that this is a guess. The reasons also quote the affinities, and say when they are within
    their noise. They are estimates from one run: whether a group is worth it is for the audit to
    measure.

    Args:
        matrix: Estimated affinities.
        grouping: What a solver made of them.
        provenance: What to note in the plan of where it came from.
        measured: For sets of tasks what each way to share was worth
            (`affinity.audit.measure_sharing`).

    Raises:
        InputError: If the grouping serves a task that the matrix does not know.

    Example:
        >>> matrix = AffinityMatrix(
        ...     tasks=("depth", "edges", "keypoints"),
        ...     values=torch.tensor([[0.0, 0.5, -0.5], [0.25, 0.0, -0.5], [-0.5, -0.5, 0.0]]),
        ... )
        >>> groups = Grouping((Network.of("depth", "edges"), Network.of("keypoints")))
        >>> recommend(matrix, groups).sharing
        ('hard', 'separate')
    """
    sharing: list[Sharing] = []
    reasons: list[str] = []
    for network in grouping.networks:
        sharing.append("separate" if network.is_alone else "hard")
        reasons.append(
            _alone(matrix, network)
            if network.is_alone
            else f"{_together(matrix, network)} {_GUESS}"
        )
    plan = Plan(
        grouping=grouping,
        sharing=tuple(sharing),
        reasons=tuple(reasons),
        provenance={
            **({"estimator": matrix.estimator} if matrix.estimator else {}),
            "evidence": "estimated from one run, not measured",
            "sharing": "a guess, not measured",
            **(provenance or {}),
        },
    )
    return share_as_measured(plan, measured) if measured else plan


def share_as_measured(
    plan: Plan, measured: Mapping[frozenset[str], Sequence[MeasuredSharing]]
) -> Plan:
    """The plan, its networks sharing in the way that was measured to be best (`choose_sharing`).

    Args:
        plan: Any plan; the reasons of its grouping stay.
        measured: For sets of tasks what each way to share was worth.
    """
    sharing, reasons = list(plan.sharing), list(plan.reasons)
    for at, network in enumerate(plan.grouping.networks):
        if ways := measured.get(network.trained):
            sharing[at], why = choose_sharing(ways)
            reasons[at] = f"{reasons[at].removesuffix(_GUESS).rstrip()} {why}"
    provenance = {**plan.provenance, "sharing": "measured at equal parameters"}
    return replace(plan, sharing=tuple(sharing), reasons=tuple(reasons), provenance=provenance)


_GUESS = "Sharing hard is a guess: no other way was measured."


def _together(matrix: AffinityMatrix, network: Network) -> str:
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


def _alone(matrix: AffinityMatrix, network: Network) -> str:
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
