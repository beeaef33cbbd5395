"""What a race found: the plan that won, and what is known of its contenders."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from affinity import markup
from affinity.errors import InputError
from affinity.estimates import PredictedGains
from affinity.grouping import Grouping, Network
from affinity.problems import TrainingResults
from affinity.recommendation import Plan
from affinity.words import count

Ended = Literal["decided", "out of trainings", "out of time"]

ENDED: dict[Ended, str] = {
    "decided": "one grouping was found to be best",
    "out of trainings": "all trainings allowed were used before one was found to be best",
    "out of time": "the time allowed was over before one was found to be best",
}


@dataclass(frozen=True)
class Candidate:
    """A grouping in the race, and what is known of it at the end.

    Args:
        name: "plan" for the one that won; "within the budget" for the best that the budget allows,
            which differs from it only where a safe choice won; "separate", "all-in-one", "random
            1" and "random 2".
        grouping: Its networks.
        gain: Expected mean gain over the tasks, against separate networks.
        low: Lower end of the gain's 95 % interval.
        high: Upper end.
        probability: That no grouping in the race is better by more than the tolerance.
        as_good: The probability that the plan is not better than it by more than the tolerance.
    """

    name: str
    grouping: Grouping
    gain: float
    low: float
    high: float
    probability: float
    as_good: float


@dataclass(frozen=True, eq=False)
class RaceResult:
    """What a race found.

    Args:
        contenders: The plan first, then the others.
        networks: Each network of a contender with the expected mean gain of its tasks and the
            ends of its 95 % interval.
        ended: Why no more was measured.
        tolerance: Differences of mean gain smaller than this were of no interest.
        measured: All that was measured.
        predicted: What that says of every group.
        trainings: How many networks were trained to the end.
        branches: How many were measured the cheap way beforehand.
        rounds: In how many rounds.
        seconds: How long it took.
    """

    contenders: tuple[Candidate, ...]
    networks: Mapping[Network, tuple[float, float, float]]
    ended: Ended
    tolerance: float
    measured: TrainingResults
    predicted: PredictedGains
    trainings: int
    branches: int
    rounds: int
    seconds: float

    @property
    def winner(self) -> Candidate:
        """The contender that won."""
        return self.contenders[0]

    def contender(self, name: str) -> Candidate:
        """The contender of that name."""
        for contender in self.contenders:
            if contender.name == name:
                return contender
        raise InputError(
            f"Expected one of the contenders {[each.name for each in self.contenders]}, but got "
            f"{name!r}."
        )

    @property
    def indistinguishable(self) -> tuple[str, ...]:
        """Which of separate networks and all-in-one may well be as good as the plan."""
        return tuple(
            contender.name
            for contender in self.contenders
            if contender.name in ("separate", "all-in-one") and contender.as_good > 0.05
        )

    def to_plan(self, name: str = "plan", provenance: Mapping[str, Any] | None = None) -> Plan:
        """A contender as a plan, the winner by default, with what was measured as its reasons."""
        winner = self.contender(name)
        networks = winner.grouping.networks
        return Plan(
            grouping=winner.grouping,
            sharing=tuple("separate" if network.is_alone else "hard" for network in networks),
            reasons=tuple(self._reason(network) for network in networks),
            provenance={
                "evidence": f"measured: a race of {self._size} in {self.rounds} rounds; "
                f"{ENDED[self.ended]}",
                "expected_gain": [round(x, 4) for x in (winner.gain, winner.low, winner.high)],
                "probability": round(winner.probability, 3),
                "indistinguishable_from": list(self.indistinguishable),
                **(provenance or {}),
            },
        )

    def frame(self) -> pd.DataFrame:
        """One row a contender: networks, gain, low, high, probability."""
        return pd.DataFrame(
            [
                {
                    "contender": each.name,
                    "networks": " | ".join(
                        ", ".join(sorted(network.served)) for network in each.grouping.networks
                    ),
                    "gain": each.gain,
                    "low": each.low,
                    "high": each.high,
                    "probability": each.probability,
                }
                for each in self.contenders
            ]
        )

    def _repr_html_(self) -> str:
        """For notebooks: a row a contender."""
        return markup.table(
            ["contender", "networks", "expected gain", "95 % interval", "best"],
            [
                [
                    each.name,
                    str(len(each.grouping.networks)),
                    f"{each.gain:+.1%}",
                    f"{each.low:+.1%} to {each.high:+.1%}",
                    f"{each.probability:.0%}",
                ]
                for each in self.contenders
            ],
            f"A race of {self._size}: {ENDED[self.ended]}",
        )

    @property
    def _size(self) -> str:
        branches = f" and {self.branches} short branches" if self.branches else ""
        return f"{self.trainings} trainings{branches}"

    def _reason(self, network: Network) -> str:
        if network.is_alone:
            return "On its own: no group that serves it was expected to gain enough for all tasks."
        mean, low, high = self.networks[network]
        expected = (
            f"Expected to gain {mean:+.1%} for its tasks ({low:+.1%} to {high:+.1%}) against "
            f"separate networks, from {count(self.trainings, 'trained network')}"
        )
        if mean > self.tolerance or len(network.trained) < len(self.predicted.tasks):
            return f"{expected}."
        return f"{expected}: nothing was found to gain enough more, and this takes fewest networks."
