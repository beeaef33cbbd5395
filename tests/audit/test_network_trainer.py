"""The network trainer: our vectorized training behind the protocol, with the same results."""

from dataclasses import replace

import pytest
import torch
from codes import raises

from affinity import Plan, Problem, retrain
from affinity.audit import audit_plan
from affinity.grouping import Grouping, Network
from affinity.problems import NetworkTrainer, load_digits
from affinity.training import Job, TrainingSettings

SETTINGS = TrainingSettings(epochs=2, batch_size=256)
PAIR = frozenset({"odd", "ink"})


@pytest.fixture(scope="module")
def problem() -> Problem:
    return load_digits(width=4, depth=1).with_settings(SETTINGS)


def test_an_audit_with_it_is_that_of_retrain(problem: Problem) -> None:
    pair, rest = Network.of("odd", "ink"), Network.of(*set(problem.names) - PAIR)
    plan = Plan(Grouping((pair, rest)), ("hard", "soft"), ("", ""))
    trainer = NetworkTrainer(problem)
    baselines = ["random"]
    expected = retrain(plan, problem, replicates=2, seed=1, baselines=baselines)
    chosen = expected.plan  # with the strength of soft sharing
    audit = audit_plan(chosen, trainer, trainer.tasks, 2, seed=1_000_003, baselines=baselines)
    for name, candidate in expected.candidates.items():
        ours = audit.candidates[name]
        assert torch.equal(ours.test.scores, candidate.test.scores), name
        assert torch.equal(ours.evaluation.scores, candidate.evaluation.scores), name
        assert ours.parameters == candidate.parameters, name
    assert audit.overall.gain == expected.overall.gain
    assert audit.context.intervals == "test rows and replicates"
    assert audit.context.limits == ()


def test_jobs_that_decide_never_see_test_rows(problem: Problem) -> None:
    job = Job("1", PAIR, seed=3)
    (result,) = NetworkTrainer(problem)([job])
    assert result.test is None
    assert result.rows is None
    blind = replace(problem, test=problem.test.take(torch.arange(1)))
    (same,) = NetworkTrainer(blind)([job])
    assert same.validation == result.validation
    (judged,) = NetworkTrainer(problem)([replace(job, purpose="judge")])
    assert judged.validation == result.validation
    assert judged.test is not None
    assert judged.rows is not None


def test_settings_change_the_training(problem: Problem) -> None:
    trainer = NetworkTrainer(problem)
    usual = Job("usual", PAIR, seed=3)
    settings = {"width": 2.0, "length": 2, "rows": 0.5}
    jobs = [usual, *(replace(usual, id=name, settings={name: settings[name]}) for name in settings)]
    results = {result.job.id: result for result in trainer(jobs)}
    scores = {tuple((result.validation or {}).values()) for result in results.values()}
    assert len(scores) == 4
    assert results["width"].parameters > results["usual"].parameters  # pyright: ignore
    assert results["rows"].parameters == results["usual"].parameters
    with raises("setting-not-accepted"):
        list(trainer([replace(usual, settings={"dropout": 0.5})]))
    with raises("invalid-rows"):
        list(trainer([replace(usual, settings={"rows": -1})]))
    assert "width" not in NetworkTrainer(replace(problem, parts=None)).accepts


def test_a_training_is_unfinished_only_if_its_own_limit_ended_it(problem: Problem) -> None:
    plan = Plan.all_in_one(problem.names)
    cut = retrain(plan, problem, 2, baselines=())
    assert {each.unfinished for each in cut.candidates.values()} == {1.0}
    assert cut.is_unfinished
    job = Job("1", PAIR, seed=3)
    longer = replace(job, settings={"length": 2.0})
    few, twice = (result for each in (job, longer) for result in NetworkTrainer(problem)([each]))
    assert few.is_unfinished
    assert few.network is not None
    assert twice.network is not None
    assert not few.network.is_unfinished(4)
    assert twice.is_unfinished == twice.network.is_unfinished(4)
    stopping = TrainingSettings(epochs=8, patience=1, learning_rate=10.0)
    (stopped,) = NetworkTrainer(problem.with_settings(stopping))([job])
    assert stopped.network is not None
    assert stopped.network.epochs < 8
    assert stopped.is_unfinished is False


def test_a_training_that_diverges_failed(problem: Problem) -> None:
    wild = problem.with_settings(replace(SETTINGS, learning_rate=1e30))
    (result,) = NetworkTrainer(wild)([Job("1", PAIR, seed=0)])
    assert (result.is_failed, result.code) == (True, "diverged")
