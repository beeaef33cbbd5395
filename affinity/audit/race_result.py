"""A race's result: the winning plan, and the estimated gains of the other candidates."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import pandas as pd

from affinity import markup
from affinity.errors import check_choice
from affinity.grouping import Grouping, Network
from affinity.problems import TrainingResults
from affinity.recommendation import Plan, PlanProvenance
from affinity.tasks import Score
from affinity.tasks.score import GAIN_UNITS, GainUnit, common_unit
from affinity.words import count, in_percent

from .alert import format_gain

Ended = Literal["decided", "too noisy", "out of trainings", "out of time"]

RaceFinding = Literal["better plan", "no difference", "not enough trainings"]

ENDED: dict[Ended, str] = {
    "decided": "one grouping is within the tolerance of the best",
    "too noisy": "stopped early: the trainings allowed are too few to show a gain",
    "out of trainings": "stopped at the limit on trainings without a clear winner",
    "out of time": "stopped at the time limit without a clear winner",
}

_FINDINGS: dict[RaceFinding, str] = {
    "better plan": "more is expected of it than of separate networks and of one network for all",
    "no difference": "no grouping is better than the plan by more than the tolerance",
    "not enough trainings": "a better grouping may exist, but trainings were too few to see it",
}


@dataclass(frozen=True)
class Candidate:
    """A grouping in the race, with its estimated gain at the end.

    Args:
        name: "plan" for the winner; "within the budget" for the best grouping within the budget,
            which differs from the plan only if a safe choice won; "any number of networks" for the
            best grouping of all, if the budget excludes it; "separate", "all-in-one", "random 1"
            and "random 2".
        grouping: Its networks.
        gain: Expected mean gain over the tasks, against separate networks.
        low: Lower end of the gain's 95 % interval.
        high: Upper end.
        probability: Probability that no grouping in the race is better by more than the tolerance.
        as_good: Probability that the plan is not better than this grouping by more than the
            tolerance.
    """

    name: str
    grouping: Grouping
    gain: float
    low: float
    high: float
    probability: float
    as_good: float


@dataclass(frozen=True)
class NetworkGain:
    """The expected mean gain of a network's tasks, by their weights, with its 95 % interval."""

    network: Network
    gain: float
    low: float
    high: float

    def by_weights(self, scores: Mapping[str, Score]) -> "NetworkGain":
        """The gain as a weighted mean, from the unweighted mean of gains times `weights_of`."""
        mean = sum(score.weight for score in scores.values()) / len(scores)
        own = sum(scores[task].weight for task in self.network.trained)
        factor = len(self.network.trained) * mean / own
        ends = factor * self.gain, factor * self.low, factor * self.high
        return NetworkGain(self.network, *ends)


@dataclass(frozen=True)
class DetectableGain:
    """The smallest gain that a race with a number of trainings finds.

    It follows from the noise that was measured, and from simulated races (`reports/race`).

    Args:
        trainings: The number of trainings.
        gain: Mean gain over the tasks by which the best grouping has to be better than the safer of
            separate networks and all-in-one for the race to find it, or at least half of its gain,
            with a probability of 80 %.
    """

    trainings: int
    gain: float


@dataclass(frozen=True, eq=False)
class RaceResult(markup.ShownAsTable):
    """The result of a race: candidates with their expected gains, and why it ended.

    `frame` gives one row per candidate, `to_plan` the winner as a plan with reasons. `Race` shows
    an example.

    Args:
        candidates: The candidates, the plan first.
        networks: Each network of a candidate, with the expected mean gain of its tasks.
        ended: Why the race ended.
        measured: The scores of all trainings.
        tolerance: Differences of mean gain smaller than this were ignored.
        variances: Variance of each effect in the predictor, relative to a task's own variance: how
            much each effect predicts.
        trainings: Number of networks that were trained to the end.
        branches: Number of short branches measured before the first round.
        rounds: Number of rounds; each trains on a new replicate.
        detectable: The smallest gains that races with the trainings of this one, and with 4, 12 and
            40 trainings per task, find with a probability of 80 % in the noise that was measured.
        unit: The unit of all gains: "relative" to the loss, a "difference" of scores, or "common",
            where 0.01 is the gain that matters.
    """

    candidates: tuple[Candidate, ...]
    networks: tuple[NetworkGain, ...]
    ended: Ended
    tolerance: float
    measured: TrainingResults
    variances: Mapping[str, float]
    trainings: int
    branches: int
    rounds: int
    seconds: float
    detectable: tuple[DetectableGain, ...] = ()
    unit: GainUnit = "relative"

    @property
    def finding(self) -> RaceFinding:
        """Whether a plan was found that is better than the safe choices, and if not, why.

        "no difference": with a probability of 95 %, no grouping is better than the plan, a safe
        choice, by more than the tolerance. "not enough trainings": there may be one.
        """
        safe = (self.candidate(name).grouping for name in ("separate", "all-in-one"))
        if self.winner.grouping not in safe:
            return "better plan"
        return "no difference" if self.winner.probability >= 0.95 else "not enough trainings"

    @property
    def winner(self) -> Candidate:
        """The candidate that won."""
        return self.candidates[0]

    def candidate(self, name: str) -> Candidate:
        """The candidate with this name.

        Raises:
            InputError: If there is no such candidate.
        """
        by_name = {candidate.name: candidate for candidate in self.candidates}
        check_choice("the candidate", name, by_name, "unknown-candidate")
        return by_name[name]

    @property
    def indistinguishable(self) -> tuple[str, ...]:
        """The names of "separate" and "all-in-one" if they may be as good as the plan.

        Without the one that is the plan.
        """
        return tuple(
            candidate.name
            for candidate in self.candidates
            if candidate.name in ("separate", "all-in-one")
            and candidate.as_good > 0.05
            and candidate.grouping != self.winner.grouping
        )

    def with_scores(self, scores: Mapping[str, Score]) -> "RaceResult":
        """The result in the unit of the tasks' scores, networks' gains by the tasks' weights."""
        networks = tuple(each.by_weights(scores) for each in self.networks)
        return replace(self, networks=networks, unit=common_unit(scores.values()))

    def to_plan(self, name: str = "plan", provenance: PlanProvenance | None = None) -> Plan:
        """A candidate as a plan, the winner by default, with measured gains as its reasons."""
        candidate = self.candidate(name)
        networks = candidate.grouping.networks
        return Plan(
            grouping=candidate.grouping,
            sharing=tuple("separate" if network.is_alone else "hard" for network in networks),
            reasons=tuple(self._reason(network) for network in networks),
            provenance=replace(
                provenance or PlanProvenance(),
                evidence=f"measured: a race of {self._size} in {self.rounds} rounds; "
                f"{ENDED[self.ended]}; {_FINDINGS[self.finding]}",
                expected_gain=(
                    round(candidate.gain, 4),
                    round(candidate.low, 4),
                    round(candidate.high, 4),
                ),
                probability=round(candidate.probability, 3),
                unit=GAIN_UNITS[self.unit],
                indistinguishable_from=self.indistinguishable,
            ),
        )

    def frame(self) -> pd.DataFrame:
        """One row per candidate: networks, gain, low, high, probability."""
        return pd.DataFrame(
            [
                {
                    "candidate": candidate.name,
                    "networks": " | ".join(
                        ", ".join(sorted(network.served)) for network in candidate.grouping.networks
                    ),
                    "gain": candidate.gain,
                    "low": candidate.low,
                    "high": candidate.high,
                    "probability": candidate.probability,
                }
                for candidate in self.candidates
            ]
        )

    def as_table(self) -> markup.ResultTable:
        """One row per candidate."""
        return markup.ResultTable(
            ["candidate", "networks", "expected gain", "95 % interval", "best"],
            [
                [
                    candidate.name,
                    str(len(candidate.grouping.networks)),
                    format_gain(candidate.gain, unit=self.unit),
                    f"{format_gain(candidate.low, unit=self.unit)} to "
                    f"{format_gain(candidate.high, unit=self.unit)}",
                    in_percent(candidate.probability),
                ]
                for candidate in self.candidates
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
        expected = next(each for each in self.networks if each.network == network)
        text = (
            "Expected mean gain of its tasks over separate networks: "
            f"{format_gain(expected.gain, expected.low, expected.high, self.unit)}, from "
            f"{count(self.trainings, 'trained network')}"
        )
        is_all_in_one = len(network.trained) == len(self.measured.tasks)
        if expected.gain > self.tolerance or not is_all_in_one:
            return f"{text}."
        return f"{text}: no other grouping gains enough more, and this one has fewest networks."
