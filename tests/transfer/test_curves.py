"""Low-data curves; joint or sequential."""

from dataclasses import replace

import pytest
import torch
from codes import raises

from affinity.problems import planted, train_networks
from affinity.statistics import Gains, NegativeTransferTest, Verdict
from affinity.training import TrainingSettings
from affinity.transfer import (
    OWN_INPUTS,
    Circumstances,
    JointOrSequential,
    LowDataCurve,
    PairComparison,
    Sources,
    compare_joint,
    learn_sources,
    low_data_curves,
    measure_transfer,
    take_rows,
)

BOTH = Circumstances(only_target_matters=False)
PROBLEM = planted(n_rows=200).with_settings(TrainingSettings(epochs=2, batch_size=32))


@pytest.fixture(scope="module")
def sources() -> Sources:
    return learn_sources(PROBLEM, PROBLEM.replicates(2), ["a1", OWN_INPUTS], targets=["a2", "b1"])


def test_a_curve_goes_from_few_rows_to_all_of_them(sources: Sources) -> None:
    curves = low_data_curves(PROBLEM, sources, targets=["a2"], sizes=(20, 40, 9999))
    (curve,) = curves
    assert (curve.source, curve.target) == ("a1", "a2")
    assert list(curve.gains) == [20, 40, 120] == list(curve.own_inputs)
    whole = measure_transfer(PROBLEM, sources=sources, targets=["a2"])
    assert curve.gains[120].by_task() == pytest.approx(whole.gains().of(["a1 → a2"]).by_task())
    assert curve.frame().columns.tolist()[:4] == ["source", "target", "rows", "gain"]


def test_few_rows_are_among_those_of_every_larger_number() -> None:
    replicate = PROBLEM.replicate(0)
    targets = replicate.training.targets.clone()
    targets[::2, 0] = torch.nan
    replicate = replace(replicate, training=replace(replicate.training, targets=targets))
    small, large = take_rows(replicate, 0, 10), take_rows(replicate, 0, 30)
    assert torch.equal(small.training.inputs, large.training.inputs[:10])
    assert bool(small.training.labelled[:, 0].all())
    assert len(small.validation) < len(large.validation) < len(replicate.validation)
    assert len(take_rows(replicate, 0, 60).validation) == len(replicate.validation)


def test_the_control_sees_the_inputs_of_the_few_rows_alone(sources: Sources) -> None:
    (curve,) = low_data_curves(PROBLEM, sources, targets=["a2"], sizes=(20,))
    on = [take_rows(replicate, 1, 20) for replicate in sources.replicates]
    alone = learn_sources(PROBLEM, on, [OWN_INPUTS], targets=["a2"])
    measured = measure_transfer(PROBLEM, sources=alone, targets=["a2"])
    expected = measured.gains().by_task()["own inputs → a2"]
    assert curve.own_inputs[20].by_task()["own inputs → a2"] == pytest.approx(expected)


def curve_of(**gains: float) -> LowDataCurve:
    """Two replicates that agree."""
    made = {
        int(size[1:]): Gains(
            ("s → t",),
            torch.full((2, 1), 1 - gain) + torch.tensor([[0.0], [1e-4]]),
            torch.ones(2, 1),
        )
        for size, gain in gains.items()
    }
    return LowDataCurve("s", "t", made, {}, NegativeTransferTest())


def test_a_curve_says_at_which_sizes_the_source_helps_and_hurts() -> None:
    summary = curve_of(n25=0.5, n50=0.3, n100=0.0, n200=-0.2).summary
    assert "at 25, 50 rows" in summary
    assert "from 100 rows on" in summary
    assert "at 200 rows" in summary
    assert "from 25 to 50 rows" in curve_of(n25=0.5, n50=0.3).summary
    verdicts = curve_of(n25=0.5, n50=0.3, n100=0.0, n200=-0.2).verdicts
    assert [verdict.verdict for verdict in verdicts.values()] == [
        *("beneficial", "beneficial", "neutral", "harmful"),
    ]


def test_sizes_that_cannot_be_drawn_are_refused(sources: Sources) -> None:
    with raises("too-few-rows"):
        low_data_curves(PROBLEM, sources, sizes=(1, 10))


def test_joint_training_beside_transfer_is_that_of_the_pair(sources: Sources) -> None:
    transfer = measure_transfer(PROBLEM, sources=sources, targets=["a2", "b1"])
    both = compare_joint(PROBLEM, sources, transfer)
    assert {(pair.source, pair.target) for pair in both.pairs} == {("a1", "a2"), ("a1", "b1")}
    networks = [frozenset({"a1", "a2"}), frozenset({"a2"})]
    measured = train_networks(PROBLEM, networks, sources.replicates)
    together, alone = measured.test_loss[:, :, 1].mean(dim=1)
    assert both.pair("a1", "a2").joint.gain == pytest.approx(float((alone - together) / alone))
    assert set(both.frame()["advice"]) <= {"joint", "sequential", "neither"}


def verdict(name: str, gain: float) -> Verdict:
    return Verdict("t", name, gain, gain - 0.01, gain + 0.01, 0.01, 0.01)  # pyright: ignore[reportArgumentType]


def case(
    sequential: str, joint: str, difference: str = "undecided", back: str = "neutral"
) -> PairComparison:
    gains = {"beneficial": 0.2, "harmful": -0.2, "neutral": 0.0, "undecided": 0.05}
    verdicts = (verdict(name, gains[name]) for name in (sequential, joint, back, difference))
    return PairComparison("s", "t", *verdicts, verdict("undecided", 0.0), 100)


@pytest.mark.parametrize(
    ("pair", "given", "use", "n_reasons"),
    [
        (case("harmful", "neutral"), Circumstances(), "neither", 3),
        (case("undecided", "undecided"), Circumstances(), "neither", 3),
        (case("beneficial", "harmful"), Circumstances(), "sequential", 3),
        (case("neutral", "beneficial"), Circumstances(), "joint", 2),
        (case("neutral", "beneficial"), Circumstances(source_at_hand=False), "neither", 4),
        (case("beneficial", "beneficial"), Circumstances(), "sequential", 4),
        (case("beneficial", "beneficial"), BOTH, "joint", 4),
        (case("beneficial", "beneficial", back="harmful"), BOTH, "sequential", 4),
        (case("beneficial", "beneficial", "harmful"), Circumstances(), "joint", 4),
        (case("beneficial", "beneficial", "beneficial"), BOTH, "sequential", 4),
    ],
)
def test_advice_follows_from_the_verdicts_and_the_circumstances(
    pair: PairComparison, given: Circumstances, use: str, n_reasons: int
) -> None:
    advice = pair.advise(given)
    assert advice.use == use
    assert len(advice.reasons) == n_reasons


def test_an_unknown_pair_is_refused() -> None:
    with raises("unknown-pair"):
        JointOrSequential((case("neutral", "neutral"),)).pair("t", "s")


def test_a_joint_comparison_needs_a_source_that_is_a_task() -> None:
    only = learn_sources(PROBLEM, PROBLEM.replicates(2), [OWN_INPUTS], targets=["a2"])
    transfer = measure_transfer(PROBLEM, sources=only, targets=["a2"])
    with raises("no-task-as-source"):
        compare_joint(PROBLEM, only, transfer)
