"""Replicates are added until the verdicts are decided, or enough is enough."""

import pytest
import torch
from codes import raises

from affinity import (
    NegativeTransferTest,
    Plan,
    Problem,
    TrainingSettings,
    load_digits,
    retrain,
)
from affinity.audit import Audit
from affinity.audit.retrain import _goal


@pytest.fixture(scope="module")
def problem() -> Problem:
    settings = TrainingSettings(epochs=2, batch_size=512)
    return load_digits(width=4, depth=1).with_settings(settings)


def grown(problem: Problem, test: NegativeTransferTest, most: int) -> Audit:
    plan = Plan.all_in_one(problem.names)
    return retrain(
        plan,
        problem,
        replicates=2,
        baselines=(),
        test=test,
        until="decided",
        max_replicates=most,
        keep=True,
    )


def test_replicates_are_added_until_there_are_enough(problem: Problem) -> None:
    never = NegativeTransferTest(level=1 - 1e-12)
    audit = grown(problem, never, most=5)
    assert audit.gains.n_replicates == 5
    assert audit.test.looks == ((2, 0.4), (4, 0.8), (5, 1.0))
    at_once = retrain(Plan.all_in_one(problem.names), problem, replicates=5, baselines=())
    torch.testing.assert_close(audit.gains.scores, at_once.gains.scores)
    torch.testing.assert_close(audit.gains.score_blocks, at_once.gains.score_blocks)
    assert len(audit.networks_of("separate", replicate=4)) == 8


def test_it_ends_when_all_is_decided(problem: Problem) -> None:
    everything_is_neutral = NegativeTransferTest(tolerance=1e6)
    audit = grown(problem, everything_is_neutral, most=40)
    assert audit.gains.n_replicates < 40
    assert {verdict.verdict for verdict in audit.verdicts.values()} == {"neutral"}
    assert audit.overall.verdict == "neutral"


def test_looks_survive_a_file(problem: Problem, tmp_path: object) -> None:
    audit = grown(problem, NegativeTransferTest(level=1 - 1e-12), most=3)
    audit = Audit.load(audit.save(f"{tmp_path}/audit.safetensors"))
    assert audit.test.looks == ((2, pytest.approx(2 / 3)), (3, 1.0))


def test_no_more_is_begun_than_fits_into_the_time() -> None:
    assert _goal(done=5, most=40, spent=10.0, minutes=None) == 10
    assert _goal(done=30, most=40, spent=10.0, minutes=None) == 40
    assert _goal(done=5, most=40, spent=30.0, minutes=1.0) == 10
    assert _goal(done=5, most=40, spent=40.0, minutes=1.0) == 7  # 20 s left, 8 s a replicate
    assert _goal(done=5, most=40, spent=50.0, minutes=1.0) == 5
    assert _goal(done=5, most=40, spent=70.0, minutes=1.0) == 5


def test_minutes_are_for_deciding(problem: Problem) -> None:
    with raises("minutes-without-until"):
        retrain(Plan.all_in_one(problem.names), problem, minutes=1.0)
