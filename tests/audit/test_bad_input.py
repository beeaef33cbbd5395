"""What an audit cannot tell is among its limitations, and does not stop the rest."""

import math
from dataclasses import replace
from typing import Any

import pytest
from torch import Tensor

import affinity.problems.network_trainer as trainer
from affinity import (
    DivergenceError,
    Grouping,
    Network,
    Plan,
    Problem,
    TrainingSettings,
    load_digits,
    retrain,
)
from affinity.audit import Audit
from affinity.report import AuditPage
from affinity.tasks import Examples
from affinity.training import TrainedNetwork

SETTINGS = TrainingSettings(epochs=2, batch_size=512)


@pytest.fixture(scope="module")
def problem() -> Problem:
    return load_digits(width=4, depth=1).with_settings(SETTINGS)


def audit_of(problem: Problem, replicates: int = 2, plan: Plan | None = None) -> Audit:
    return retrain(plan or Plan.separate(problem.names), problem, replicates, baselines=())


def limits(audit: Audit) -> set[tuple[str, str | None]]:
    """The code of each limitation, with the task or candidate that it concerns."""
    return {(limit.code, limit.task or limit.candidate) for limit in audit.context.limits}


def with_test(problem: Problem, targets: Tensor) -> Problem:
    return replace(problem, test=Examples(problem.test.inputs[: len(targets)], targets))


def shown(audit: Audit) -> str:
    """The page and the JSON can be written, undefined numbers and all."""
    audit.to_json()
    return AuditPage.from_audit(audit).to_html()


def test_one_replicate_gives_no_interval_and_says_so(problem: Problem) -> None:
    audit = audit_of(problem, replicates=1, plan=Plan.all_in_one(problem.names))
    assert all(math.isnan(each.low) for each in audit.verdicts.values())
    assert audit.overall.verdict == "undecided"
    assert "Only 1 replicate" in shown(audit)


def test_a_task_with_one_class_in_the_test_rows_has_losses_but_no_verdict(problem: Problem) -> None:
    targets = problem.test.targets.clone()
    targets[:, 0] = 1.0
    audit = audit_of(with_test(problem, targets))
    assert ("undefined-metric", "odd") in limits(audit)
    assert audit.too_few_labels == ("odd",)
    assert "too-few-to-judge" in {alert.code for alert in audit.alerts}
    row, *others = audit.summary().tasks
    assert row.metric["plan"] is None
    assert row.loss["plan"] > 0
    assert row.verdict == "undecided"
    assert {other.verdict for other in others} == {"neutral"}  # the plan is separate networks
    shown(audit)


def test_more_tasks_than_test_rows_are_told(problem: Problem) -> None:
    audit = audit_of(
        with_test(problem, problem.test.targets[:6]), plan=Plan.all_in_one(problem.names)
    )
    assert ("few-test-rows", None) in limits(audit)
    shown(audit)


def test_a_single_labelled_test_row_gives_no_verdict(problem: Problem) -> None:
    targets = problem.test.targets.clone()
    targets[1:, 1] = math.nan
    audit = audit_of(with_test(problem, targets), plan=Plan.all_in_one(problem.names))
    assert ("few-labels", "at least 5") in limits(audit)
    assert audit.verdicts["at least 5"].verdict == "undecided"
    assert math.isnan(audit.verdicts["at least 5"].low)
    assert math.isfinite(audit.verdicts["ink"].low)
    shown(audit)


def test_a_plan_that_failed_to_train_ends_the_audit(problem: Problem) -> None:
    targets = problem.development.targets.clone()
    targets[:, 5] *= 1e25
    spoilt = replace(problem, development=Examples(problem.development.inputs, targets))
    with pytest.raises(DivergenceError, match="'ink'"):
        audit_of(spoilt, plan=Plan.all_in_one(problem.names))


def test_a_baseline_that_failed_to_train_is_told(
    problem: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = trainer.train_each

    def failing(*arguments: Any, **settings: Any) -> list[TrainedNetwork]:
        return [
            replace(network, diverged="The loss of 'odd' became inf.")
            if len(network.tasks) == 8 or network.tasks == ("odd",)
            else network
            for network in train(*arguments, **settings)
        ]

    monkeypatch.setattr(trainer, "train_each", failing)
    first, second, *others = problem.names
    grouping = Grouping((Network.of(first, second), Network.of(*others)))
    audit = audit_of(problem, plan=Plan(grouping, ("hard", "hard"), ("", "")))
    assert {("failed-training", name) for name in ("all-in-one", "separate")} <= limits(audit)
    assert audit.verdicts["odd"].verdict == "undecided"
    assert math.isnan(audit.verdicts["odd"].gain)
    assert math.isfinite(audit.verdicts["ink"].gain)
    assert math.isfinite(audit.overall.gain)
    assert math.isnan(audit.overall_of("all-in-one").gain)
    assert audit.advice in ("plan", "separate")
    shown(audit)
