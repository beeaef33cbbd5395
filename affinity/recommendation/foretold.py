"""The plan of a forecast: what each network of a grouping is said to gain."""

from collections.abc import Mapping
from typing import Any

from affinity.estimates import GroupScores
from affinity.grouping import Grouping, Network

from .plan import Plan


def recommend_foretold(
    scores: GroupScores,
    grouping: Grouping,
    estimator: str,
    provenance: Mapping[str, Any] | None = None,
) -> Plan:
    """Say what each network of `grouping` is foretold to gain; groups share hard.

    Args:
        scores: Foretold gains of the grouping's networks, 0 for a task alone.
        grouping: What a solver made of them.
        estimator: What foretold them.
        provenance: What to note in the plan of where it came from.

    Example:
        >>> from affinity.estimates import CandidateGroup
        >>> scores = GroupScores(("a", "b"), (CandidateGroup({"a": 0.5, "b": 0.25}),))
        >>> recommend_foretold(scores, Grouping((Network.of("a", "b"),)), "surrogate").reasons[0]
        'Foretold to gain +37.5% for its tasks against separate networks; not measured.'
    """
    gains = {each.trained: each.scores for each in scores.candidates}

    def reason(network: Network) -> str:
        if network.is_alone:
            return "On its own: no group that serves it was foretold to gain enough for all tasks."
        own = [gains[network.trained][task] for task in sorted(network.served)]
        return (
            f"Foretold to gain {sum(own) / len(own):+.1%} for its tasks against separate networks; "
            "not measured."
        )

    return Plan(
        grouping=grouping,
        sharing=tuple("separate" if each.is_alone else "hard" for each in grouping.networks),
        reasons=tuple(reason(each) for each in grouping.networks),
        provenance={
            "estimator": estimator,
            "evidence": "foretold from one run, not measured",
            "sharing": "a guess, not measured",
            **(provenance or {}),
        },
    )
