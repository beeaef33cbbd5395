"""The proposal: the best grouping of a study so far as a plan, with measured gains as reasons."""

from math import isnan

from affinity.grouping import Network
from affinity.recommendation import Plan, PlanProvenance
from affinity.tasks.score import GAIN_UNITS, common_unit
from affinity.words import count

from .deciding import Answer, StudyState, measured_gains


def propose_plan(state: StudyState, answer: Answer) -> Plan:
    """The best grouping as a plan; its provenance lists what the results leave open."""
    best, seeds = answer.plan, {result.job.seed for result in state.results}
    networks, is_measured = best.grouping.networks, not isnan(best.gain)
    ended = "the best grouping was found" if answer.is_decided else "no clear winner yet"
    return Plan(
        grouping=best.grouping,
        sharing=tuple(
            "separate" if network.is_alone else state.ways.get(network.trained, "hard")
            for network in networks
        ),
        reasons=tuple(_reason(state, network) for network in networks),
        provenance=PlanProvenance(
            evidence=f"measured: {count(len(state.results), 'training')} on "
            f"{count(len(seeds), 'seed')}; {ended}",
            expected_gain=(_rounded(best.gain), _rounded(best.low), _rounded(best.high))
            if is_measured
            else None,
            probability=round(best.probability, 3) if is_measured else None,
            budget=state.budget,
            unit=GAIN_UNITS[common_unit(state.tasks.values())] if is_measured else None,
            unknown=answer.unknown or None,
        ),
    )


def _reason(state: StudyState, network: Network) -> str:
    if network.is_alone:
        return "No group was found in which this task and its partners gain enough."
    gains = measured_gains(state, network.trained)
    if not gains:
        return "Proposed by the prior or predicted from other groups; not measured."
    texts = [f"{task} {state.tasks[task].format(gain)}" for task, (gain, _) in gains.items()]
    most = max(trainings for _, trainings in gains.values())
    way = state.ways.get(network.trained, "hard")
    merged = f"Merged from networks of single tasks ({way}): better than joint training. "
    return (merged if way != "hard" else "") + (
        f"Measured gains over single-task training ({count(most, 'training')}): {', '.join(texts)}."
    )


def _rounded(gain: float) -> float:
    """To four digits; 0 without a sign."""
    return round(gain, 4) + 0.0
