"""The alerts of an audit: which occur, how serious they are, and what they name."""

from dataclasses import replace

import pytest
import torch
from example_audits import a_race, an_audit, names, trace_of, with_gates

from affinity.audit import Audit, RepeatedHoldout
from affinity.estimates import LabelOverlap
from affinity.recommendation.plan import PlanProvenance
from affinity.recording import Trace, merge_traces
from affinity.report import Alert, find_alerts


def alerts_by_code(
    audit: Audit, trace: Trace | None = None, holdout: RepeatedHoldout | None = None
) -> dict[str, Alert]:
    return {alert.code: alert for alert in find_alerts(audit, trace, holdout)}


def test_alerts_come_most_serious_first() -> None:
    audit = an_audit(6, n_replicates=2, rows={"development": 900, "test": 40})
    alerts = find_alerts(audit)
    severities = [alert.severity for alert in alerts]
    assert severities == sorted(severities, key=["serious", "warning", "note"].index)
    assert alerts[0].code == "few-replicates"
    assert [alert.title for alert in alerts if alert.code == "small-split"] == ["Few test rows"]
    assert "few-replicates" not in alerts_by_code(an_audit(6))


def test_harmful_tasks_are_named_and_the_worst_with_its_gain() -> None:
    audit = an_audit(6, effect=0.2)
    harmed = [task for task, each in audit.verdicts.items() if each.verdict == "harmful"]
    alert = alerts_by_code(audit)["harmful-tasks"]
    assert harmed
    assert alert.severity == "serious"
    assert all(f"“{task}”" in alert.text for task in harmed)


def test_a_task_with_much_larger_gradients_raises_an_alert() -> None:
    trace = trace_of(("a", "b"))
    scale = torch.tensor([1.0, 50.0])
    gramians = torch.diag(scale**2).expand(40, 2, 2)
    dominated = Trace(trace.tasks, trace.steps, trace.losses, gramians=gramians)
    assert "dominant-loss" in alerts_by_code(an_audit(("a", "b"), n_groups=1), dominated)
    assert "dominant-loss" not in alerts_by_code(an_audit(("a", "b"), n_groups=1), trace)


def test_polarized_gates_and_identical_experts_raise_alerts() -> None:
    alerts = alerts_by_code(with_gates(an_audit(6), polarized=True))
    assert "“task 01”, “task 04”" in alerts["polarized-gates"].text
    assert "5 of 5" in alerts["identical-experts"].text
    assert not {"polarized-gates", "identical-experts"} & set(
        alerts_by_code(with_gates(an_audit(6)))
    )


def test_tasks_that_share_few_rows_raise_an_alert_if_there_is_an_estimate() -> None:
    few = LabelOverlap(n_pairs=15, n_below=9, median=0.2, least=0.0)
    audit = an_audit(6, overlap=few)
    assert "9 of the 15" in alerts_by_code(audit)["few-shared-rows"].text
    for other in (an_audit(6, overlap=replace(few, n_below=0)), replace(audit, matrix=None)):
        assert "few-shared-rows" not in alerts_by_code(other)


def test_affinities_that_differ_between_runs_raise_an_alert() -> None:
    audit = an_audit(6)
    noise = trace_of(audit.gains.tasks)
    assert "not-reproducible" in alerts_by_code(audit, noise)
    equal_runs = merge_traces([noise, noise.at(torch.arange(40).flip(0))])
    assert "not-reproducible" not in alerts_by_code(audit, equal_runs)
    assert noise.lookahead_losses is not None
    other = replace(noise, lookahead_losses=noise.lookahead_losses.flip(1))
    text = alerts_by_code(audit, merge_traces([noise, other]))["not-reproducible"].text
    assert text.startswith("2 runs")


@pytest.mark.parametrize(("harm", "is_weak"), [(0.0, True), (0.5, False)])
def test_affinity_is_called_a_weak_guide_if_sharing_everything_does_little_harm(
    harm: float, is_weak: bool
) -> None:
    base = an_audit()
    all_in_one = base.candidates["all-in-one"]
    worse = replace(base.gains, scores=base.gains.baseline * (1 + harm))
    audit = replace(
        base,
        candidates={**base.candidates, "all-in-one": replace(all_in_one, evaluation=worse)},
    )
    assert ("weak-guide" in alerts_by_code(audit)) == is_weak
    raced = replace(audit, context=replace(audit.context, race=a_race(names(6))))
    assert "weak-guide" not in alerts_by_code(raced)
    given = replace(audit, plan=replace(audit.plan, provenance=PlanProvenance()))
    assert "weak-guide" not in alerts_by_code(given)


def test_a_verdict_on_all_tasks_says_whether_other_test_splits_confirm_it() -> None:
    sure = an_audit(6, effect=0.2, n_groups=1)
    assert sure.overall_of(sure.advice).verdict == "beneficial"
    assert alerts_by_code(sure)["one-test-split"].severity == "note"
    confirmed = alerts_by_code(sure, holdout=RepeatedHoldout((sure, sure, sure), 0.25))
    assert not {"one-test-split", "not-confirmed"} & set(confirmed)
    others = [an_audit(6, effect=effect, n_groups=1) for effect in (-0.2, 0.05, -0.05)]
    alert = alerts_by_code(sure, holdout=RepeatedHoldout((sure, *others), 0.25))["not-confirmed"]
    assert alert.severity == "warning"
    assert "one-test-split" not in alerts_by_code(an_audit(6, effect=0.0))
