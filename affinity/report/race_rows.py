"""The race for the plan as table rows: each grouping once, under all names that it ran by."""

from collections.abc import Sequence
from dataclasses import dataclass

from affinity.audit import Candidate


@dataclass(frozen=True)
class RaceRow:
    """One grouping of the race, with the names of the candidates that are this grouping."""

    candidate: str
    networks: str
    gain: float
    low: float
    high: float
    probability: float


def race_rows(candidates: Sequence[Candidate]) -> list[RaceRow]:
    """One row per grouping, in the order of the candidates."""
    rows: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        networks = " | ".join(
            ", ".join(sorted(network.served)) for network in candidate.grouping.networks
        )
        rows.setdefault(networks, []).append(candidate)
    return [
        RaceRow(
            candidate=", ".join(each.name for each in same),
            networks=networks,
            gain=same[0].gain,
            low=same[0].low,
            high=same[0].high,
            probability=same[0].probability,
        )
        for networks, same in rows.items()
    ]
