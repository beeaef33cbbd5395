"""The history of a study: its candidates and their probabilities after earlier trainings."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import isnan
from pathlib import Path

import msgspec

from affinity.audit import Candidate
from affinity.audit.repeated_holdout import Networks
from affinity.grouping import Grouping

from .deciding import Answer

HISTORY = "history.jsonl"  # the file inside a study's folder with what was computed before
_MOST_POINTS = 24


@dataclass(frozen=True)
class StudyCandidate:
    """A grouping with its expected gain and its probability of being best.

    Args:
        names: All names of the candidates that are this grouping: "plan", "within the budget",
            "separate", "all-in-one".
        networks: The tasks of each network.
        gain: Expected mean gain over the tasks, compared with separate networks; None if unknown.
        low: Lower end of its 95 % interval; None for separate networks, whose gain is 0.
        probability: That no other candidate is better by more than the tolerance.
    """

    names: tuple[str, ...]
    networks: Networks
    gain: float | None
    low: float | None
    high: float | None
    probability: float | None


@dataclass(frozen=True)
class PastAnswer:
    """The candidates at an earlier time.

    Args:
        ended: Number of trainings that had ended by then, those from before the study among them.
        candidates: The plan of that time first; with probabilities.
        failed: Number of those that failed; one that is tried again changes the answer.
    """

    ended: int
    candidates: tuple[StudyCandidate, ...]
    failed: int = 0

    def probability(self, name: str) -> float | None:
        """The probability of the candidate with this name; None if there was none."""
        for candidate in self.candidates:
            if name in candidate.names:
                return candidate.probability
        return None


def list_candidates(answer: Answer) -> tuple[StudyCandidate, ...]:
    """One candidate per grouping, in the order of the answer."""
    same: dict[Networks, list[Candidate]] = {}
    for candidate in answer.candidates:
        same.setdefault(networks_of(candidate.grouping), []).append(candidate)
    return tuple(
        _describe(networks, [candidate.name for candidate in candidates], candidates[0])
        for networks, candidates in same.items()
    )


def _describe(networks: Networks, names: Sequence[str], candidate: Candidate) -> StudyCandidate:
    is_separate = all(len(network) == 1 for network in networks)
    return StudyCandidate(
        names=tuple(names),
        networks=networks,
        gain=known(candidate.gain),
        low=None if is_separate else known(candidate.low),
        high=None if is_separate else known(candidate.high),
        probability=known(candidate.probability),
    )


def networks_of(grouping: Grouping) -> Networks:
    """The tasks of each network, the largest first."""
    networks = (tuple(sorted(network.served)) for network in grouping.networks)
    return tuple(sorted(networks, key=lambda network: (-len(network), network)))


def known(value: float) -> float | None:
    """The value; None for NaN."""
    return None if isnan(value) else value


def points_to_show(n_ended: int) -> list[int]:
    """Numbers of ended trainings after which candidates are shown, the latest first.

    Those of a shorter history stay until they become too many, and are then halved.
    """
    step = 1
    while n_ended / step > _MOST_POINTS:
        step *= 2
    points = {*range(step, n_ended + 1, step), n_ended} - {0}
    return sorted(points, reverse=True)


def read_history(folder: Path) -> dict[int, PastAnswer]:
    """What was computed before, by the number of trainings that had ended."""
    answers: dict[int, PastAnswer] = {}
    decoder = msgspec.json.Decoder(PastAnswer)
    with suppress(OSError):
        for line in (folder / HISTORY).read_bytes().splitlines():
            with suppress(msgspec.MsgspecError):  # a line that was not finished
                answer = decoder.decode(line)
                answers[answer.ended] = answer
    return answers


def append_history(folder: Path, answers: Sequence[PastAnswer]) -> None:
    """Keep what was computed; a folder that cannot be written to is no error."""
    lines = b"".join(msgspec.json.encode(answer) + b"\n" for answer in answers)
    with suppress(OSError), (folder / HISTORY).open("ab") as file:
        file.write(lines)
