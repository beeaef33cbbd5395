"""Causes: each measured by taking it away, and found where it was planted."""

from dataclasses import replace

import numpy as np
import pytest
from codes import raises
from harmful_problems import (
    contradicting,
    few_rows,
    hurried,
    narrow,
    noisy_company,
    one_loud,
    out_of_pace,
)

from affinity import Plan, Problem, TrainingSettings, diagnose
from affinity.audit.causes import CAUSES, QUICK_CAUSES, DiagnosisContext, Optimization
from affinity.audit.causes.overfitting import Overfitting
from affinity.problems import NetworkTrainer, RandomRows

QUICK = {**CAUSES, "optimization": Optimization(one_by_one=False)}
TINY = TrainingSettings(epochs=2, batch_size=128)


def tiny(problem: Problem) -> Problem:
    return problem.with_settings(TINY)


@pytest.fixture(scope="module")
def case() -> DiagnosisContext:
    problem = tiny(narrow(200))
    trainer = NetworkTrainer(problem)
    plan = Plan.all_in_one(problem.names)
    return DiagnosisContext(trainer, trainer.tasks, plan, problem.replicate_seeds(2))


@pytest.mark.parametrize("name", CAUSES)
def test_every_cause_says_what_it_saw_and_what_each_change_recovered(
    name: str, case: DiagnosisContext
) -> None:
    cause = QUICK[name]
    if name == "overfitting":  # in networks that could share more; any gap counts
        case, cause = replace(case, plan=Plan.separate(case.names)), Overfitting(gap=-np.inf)
    finding = cause(case)
    assert finding.cause == name
    assert finding.evidence
    assert any(change.decides for change in finding.changes)
    assert any(change.is_remedy for change in finding.changes)
    for change in finding.changes:
        assert change.evaluation.shape == change.test.shape == (2, len(case.names))
        assert np.isfinite(change.evaluation).all()
        assert change.cost > 0


def test_a_quick_diagnosis_asks_for_every_cause_with_fewer_changes(case: DiagnosisContext) -> None:
    assert list(QUICK_CAUSES) == list(CAUSES)
    quick = {change.name for cause in QUICK_CAUSES.values() for change in cause(case).changes}
    assert "2 times the width" in quick
    assert not {"4 times the width", "GradNorm", "PCGrad"} & quick


@pytest.mark.parametrize("name", ["capacity", "optimization", "mismatch"])
def test_where_nothing_is_shared_only_data_can_be_tested(name: str, case: DiagnosisContext) -> None:
    alone = replace(case, plan=Plan.separate(case.names))
    finding = QUICK[name](alone)
    assert finding.skipped == ("no two tasks share a network",)
    assert finding.changes == ()


def test_more_sharing_decides_only_where_the_gap_counts_as_overfitting(
    case: DiagnosisContext,
) -> None:
    alone = replace(case, plan=Plan.separate(case.names))
    (change,) = Overfitting(gap=np.inf)(alone).changes
    assert not change.decides


def test_where_all_is_shared_more_sharing_cannot_be_tested(case: DiagnosisContext) -> None:
    finding = QUICK["overfitting"](case)
    assert finding.skipped == ("all tasks share one network already",)
    assert finding.changes == ()


def test_sharing_nothing_recovers_the_whole_harm(case: DiagnosisContext) -> None:
    changes = {change.name: change for change in QUICK["mismatch"](case).changes}
    np.testing.assert_array_equal(changes["share nothing"].test, case.harm(case.joint)[1])


def test_a_problem_of_one_width_says_how_capacity_could_be_tested(case: DiagnosisContext) -> None:
    assert case.own is not None
    fixed = replace(case, trainer=NetworkTrainer(replace(case.own.problem, parts=None)))
    (said,) = CAUSES["capacity"](fixed).skipped
    assert "parts=" in said


@pytest.mark.slow  # networks are trained one by one
@pytest.mark.usefixtures("in_one_process")
def test_what_needs_torchjd_is_skipped_with_a_word_where_it_is_missing(
    case: DiagnosisContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torchjd", None)
    finding = Optimization(alphas=(0.5, 3.0))(case)
    (balanced,) = (change for change in finding.changes if change.name == "GradNorm")
    (said_so,) = (said for said in finding.evidence if said.startswith("GradNorm's alpha is"))
    assert said_so.split()[3].rstrip(",") in balanced.advice
    (said,) = finding.skipped
    assert "task-affinity[torchjd]" in said


def test_one_replicate_shows_nothing() -> None:
    problem = tiny(narrow(120))
    found = diagnose(problem, replicates=1, causes={"capacity": CAUSES["capacity"]})
    assert found.harmed == ()
    assert found.cause is None
    assert found.summary().harm.test.low is None


def test_bad_input_is_told() -> None:
    problem = tiny(narrow(120))
    with raises("no-replicates"):
        diagnose(problem, replicates=0)
    with raises("different-tasks"):
        diagnose(problem, Plan.all_in_one(("x", "y")))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("problem", "cause"),
    [(narrow, "capacity"), (one_loud, "optimization"), (contradicting, "mismatch")],
)
def test_the_cause_that_was_planted_is_found(problem, cause: str) -> None:
    found = diagnose(problem(400), replicates=5, causes=QUICK)
    assert found.cause == cause, found.to_json()
    assert found.harm("test").mean() > 0.3
    first = found.ranked()[0]
    remedy = found.remedy(first)
    assert remedy is not None
    assert remedy.on("test", found.concerned).mean() > 0.6 * found.harm("test").mean()


@pytest.mark.slow
def test_training_too_short_is_told_from_too_small_a_trunk() -> None:
    found = diagnose(hurried(400), replicates=5, causes=QUICK)
    assert found.cause == "optimization", found.to_json()
    assert found.remedies[0].change.name == "3 times the epochs"


@pytest.mark.slow
def test_tasks_that_learn_at_different_pace_keep_their_own_best_epochs() -> None:
    found = diagnose(out_of_pace(), replicates=8, causes=QUICK)
    assert found.cause == "optimization", found.to_json()
    assert found.remedies[0].change.name == "each task's own best epoch"
    assert found.harmed == ("t1",)


@pytest.mark.slow
@pytest.mark.parametrize("usual", [32, 24])  # the plan has a width of its own if it is not 32
def test_harm_that_more_rows_reduce_is_found(usual: int) -> None:
    problem = noisy_company().of_width(usual)
    plan = replace(Plan.all_in_one(problem.names), width=32)
    found = diagnose(problem, plan, replicates=12, causes=QUICK_CAUSES)
    assert found.cause == "data", found.to_json()
    assert found.remedies[0].change.name == "rows from 50 % to all"


@pytest.mark.slow
def test_four_times_the_rows_reduce_the_harm_as_planted() -> None:
    few, many = (diagnose(noisy_company(n), replicates=12, causes={}) for n in (560, 2240))
    assert many.test_harm.mean() < 0.75 * few.test_harm.mean()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("problem", "n_rows", "usual", "width", "cause"),
    [
        (narrow, 600, 12, 3, "capacity"),
        (contradicting, 600, 4, 8, "mismatch"),
    ],
)
def test_the_cause_is_found_where_the_plan_has_its_own_width(
    problem, n_rows: int, usual: int, width: int, cause: str
) -> None:
    sized = problem(n_rows).of_width(usual)
    plan = replace(Plan.all_in_one(sized.names), width=width)
    found = diagnose(sized, plan, replicates=5, causes=QUICK)
    assert found.cause == cause, found.to_json()
    changes = {change.name: change for change in found.changes}
    assert f"({2 * width})" in changes["2 times the width"].advice
    assert changes["2 times the width"].parameters > 1.4


@pytest.mark.slow
@pytest.mark.parametrize("usual", [16, 32])
def test_where_rows_are_few_sharing_more_is_advised(usual: int) -> None:
    problem = replace(few_rows(), resampling=RandomRows()).of_width(usual)
    plan = replace(Plan.separate(problem.names), width=16)
    found = diagnose(problem, plan, replicates=5, causes=QUICK)
    assert found.cause == "overfitting"
    assert not found.shows_harm
    assert found.remedies[0].change.name == "one network for all tasks"
