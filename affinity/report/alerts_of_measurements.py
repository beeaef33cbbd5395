"""What should make a reader doubt the measured gains."""

from affinity.audit import Audit
from affinity.words import count

from .alert import Alert, named
from .numbers import percent

FEWEST_REPLICATES = 3
NO_INTERVALS = "One replicate gives no intervals and no verdicts. "


def alerts_of_measurements(audit: Audit) -> list[Alert]:
    """Of the trainings, the replicates, the verdicts, and the networks as they were trained."""
    return [
        *_limits(audit),
        *_few_replicates(audit),
        *_harmed(audit),
        *_lost_on_test(audit),
        *_undecided(audit),
        *_gates(audit),
    ]


def _limits(audit: Audit) -> list[Alert]:
    limits = audit.context.limits
    return [Alert("warning", "What this audit cannot tell", limit.message) for limit in limits]


def _few_replicates(audit: Audit) -> list[Alert]:
    n_replicates = audit.gains.n_replicates
    if n_replicates >= FEWEST_REPLICATES:
        return []
    return [
        Alert(
            "serious",
            f"Only {count(n_replicates, 'replicate')}",
            f"{NO_INTERVALS if n_replicates == 1 else ''}Rows and seeds move gains as much as "
            f"sharing does. Retrain at least {FEWEST_REPLICATES}, better 5 to 10 times, before "
            "acting on this page.",
        )
    ]


def _harmed(audit: Audit) -> list[Alert]:
    harmed = [each for each in audit.verdicts.values() if each.verdict == "harmful"]
    if not harmed:
        return []
    worst = min(harmed, key=lambda verdict: verdict.gain)
    return [
        Alert(
            "serious",
            f"The plan harms {count(len(harmed), 'task')}",
            f"{named([each.task for each in harmed])}. The worst is “{worst.task}” with a gain of "
            f"{percent(worst.gain)}. Give it a network of its own in plan.yaml, and audit again; "
            "“affinity diagnose RUN” finds out why.",
        )
    ]


def _lost_on_test(audit: Audit) -> list[Alert]:
    if audit.advice == "separate":
        return []
    arrangement = audit.candidates[audit.advice]
    evaluation = float(arrangement.evaluation.overall().mean())
    test = float(arrangement.test.overall().mean())
    if not test < 0:
        return []
    return [
        Alert(
            "serious",
            "Validation and test rows disagree",
            f"What led on evaluation rows ({percent(evaluation)}) lost on test rows "
            f"({percent(test)}). More replicates or evaluation rows would tell which is right.",
        )
    ]


def _undecided(audit: Audit) -> list[Alert]:
    undecided = [each for each in audit.verdicts.values() if each.verdict == "undecided"]
    if not undecided or audit.gains.n_replicates == 1:
        return []
    share = len(undecided) / len(audit.tasks)
    return [
        Alert(
            "warning" if share > 0.5 else "note",
            f"{count(len(undecided), 'task')} undecided",
            f"{named([each.task for each in undecided])}: the replicates neither show a gain or a "
            "loss nor rule one out. The table of gains says how large an effect would have been "
            "found.",
        )
    ]


def _gates(audit: Audit) -> list[Alert]:
    """Mixtures of experts that are none: gates that choose nothing, experts that are alike."""
    found: list[Alert] = []
    for number, gates in enumerate(audit.gates, start=1):
        if gates is None:
            continue
        if polarized := gates.often_polarized:
            found.append(
                Alert(
                    "warning",
                    f"Gates of network {number} are polarized",
                    f"{named(list(polarized))}: the gate gives nearly all weight to a single "
                    f"expert, on up to {max(polarized.values())} of {gates.n_replicates} "
                    "replicates, so the task does not share as planned. Drop experts at random in "
                    "training (gate dropout), or share hard.",
                )
            )
        if identical := gates.often_identical:
            found.append(
                Alert(
                    "warning",
                    f"Experts of network {number} are identical",
                    f"Two of its experts give the same output on every row, on {identical} of "
                    f"{gates.n_replicates} replicates: they are paid for twice. Use fewer experts, "
                    "or share hard.",
                )
            )
    return found
