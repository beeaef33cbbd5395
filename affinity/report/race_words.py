"""A race in words: one row per grouping, what was found, and what its trainings could find."""

from collections.abc import Sequence
from dataclasses import dataclass

from affinity.audit import Candidate
from affinity.audit.race_result import DetectableGain, RaceFinding
from affinity.tasks.score import GainUnit
from affinity.words import count, listed

from .alternatives import served_tasks
from .numbers import gain_text

_FINDINGS: dict[RaceFinding, str] = {
    "better plan": "The race expects more of the plan than of separate networks and of one "
    "network for all tasks.",
    "no difference": "The race found no grouping that is better than the plan by more than the "
    "tolerance.",
    "not enough trainings": "A better grouping may exist, but the race had too few trainings to "
    "see it.",
}


@dataclass(frozen=True)
class RaceRow:
    """A grouping in the race, with the names of all candidates that are this grouping."""

    names: str
    networks: str
    candidate: Candidate


def race_rows(candidates: Sequence[Candidate]) -> list[RaceRow]:
    """One row per grouping, in the order of the candidates."""
    same_networks: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        networks = " | ".join(map(", ".join, served_tasks(candidate.grouping)))
        same_networks.setdefault(networks, []).append(candidate)
    return [
        RaceRow(", ".join(candidate.name for candidate in same), networks, same[0])
        for networks, same in same_networks.items()
    ]


def race_sentences(
    finding: RaceFinding | None, detectable: Sequence[DetectableGain], unit: GainUnit = "relative"
) -> list[str]:
    """What a race found, and the smallest gains that its and more trainings can find."""
    sentences = [_FINDINGS[finding]] if finding is not None else []
    if detectable:
        by_trainings = {each.trainings: each.gain for each in detectable}
        gains = [
            f"{gain_text(gain, unit)} with {count(trainings, 'training')}"
            for trainings, gain in sorted(by_trainings.items())
        ]
        sentences.append(
            "With a probability of about 80 %, a race finds a better grouping than the safer of "
            "separate networks and one network for all if the best one gains at least "
            f"{listed(gains)}."
        )
    return sentences
