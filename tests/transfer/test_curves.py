"""Low-data curves; joint or sequential."""

from dataclasses import replace

import pytest
import torch

from affinity.errors import InputError
from affinity.problems import planted, train_networks
from affinity.statistics import Gains, NegativeTransferTest, Verdict
from affinity.training import TrainingSettings
from affinity.transfer import (
    OWN_INPUTS,
    Circumstances,
    JointOrSequential,
    LowDataCurve,
    Sources,
    compare_joint,
    few,
    learn_sources,
    low_data_curves,
    measure_transfer,
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
    assert curve.gains[120].relative() == pytest.approx(whole.gains().of(["a1 → a2"]).relative())
    assert curve.frame().columns.tolist()[:4] == ["source", "target", "rows", "gain"]


def test_few_rows_are_among_those_of_every_larger_number() -> None:
    replicate = PROBLEM.replicate(0)
    targets = replicate.training.targets.clone()
    targets[::2, 0] = torch.nan
    replicate = replace(replicate, training=replace(replicate.training, targets=targets))
    small, large = few(replicate, 0, 10), few(replicate, 0, 30)
    assert torch.equal(small.training.inputs, large.training.inputs[:10])
    assert bool(small.training.labelled[:, 0].all())
    assert len(small.validation) < len(large.validation) < len(replicate.validation)
    assert len(few(replicate, 0, 60).validation) == len(replicate.validation)


def test_the_control_sees_the_inputs_of_the_few_rows_alone(sources: Sources) -> None:
    (curve,) = low_data_curves(PROBLEM, sources, targets=["a2"], sizes=(20,))
    on = [few(replicate, 1, 20) for replicate in sources.replicates]
    alone = learn_sources(PROBLEM, on, [OWN_INPUTS], targets=["a2"])
    measured = measure_transfer(PROBLEM, sources=alone, targets=["a2"])
    expected = measured.gains().relative()["own inputs → a2"]
    assert curve.own_inputs[20].relative()["own inputs → a2"] == pytest.approx(expected)


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


def test_a_curve_says_from_how_many_rows_on_the_source_is_no_longer_worth_it() -> None:
    assert curve_of(n25=0.5, n50=0.3, n100=0.0, n200=-0.2).summary == (
        "'s' is worth it for 't' at 25, 50 rows; from 100 rows on it was not found to be; it hurts "
        "at 200 rows."
    )
    assert "from 25 to 50 rows, as far as was measured" in curve_of(n25=0.5, n50=0.3).summary
    assert "was not found to be worth it" in curve_of(n25=0.0, n50=0.0).summary


def test_sizes_that_cannot_be_drawn_are_refused(sources: Sources) -> None:
    with pytest.raises(InputError, match="at least 2 rows"):
        low_data_curves(PROBLEM, sources, sizes=(1, 10))


def test_joint_training_beside_transfer_is_that_of_the_pair(sources: Sources) -> None:
    transfer = measure_transfer(PROBLEM, sources=sources, targets=["a2", "b1"])
    both = compare_joint(PROBLEM, sources, transfer)
    assert set(both.sequential) == {("a1", "a2"), ("a1", "b1")}
    assert ("a2", "a1") in both.joint  # what the source has from it
    networks = [frozenset({"a1", "a2"}), frozenset({"a2"})]
    measured = train_networks(PROBLEM, networks, sources.replicates)
    pair, alone = measured.test_loss[:, :, 1].mean(dim=1)
    assert both.joint["a1", "a2"].gain == pytest.approx(float((alone - pair) / alone))
    assert set(both.frame()["advice"]) <= {"joint", "sequential", "neither"}


def verdict(name: str, gain: float) -> Verdict:
    return Verdict("t", name, gain, gain - 0.01, gain + 0.01, 0.01, 0.01)  # pyright: ignore[reportArgumentType]


def case(
    sequential: str, joint: str, difference: str = "undecided", back: str = "neutral"
) -> JointOrSequential:
    gains = {"beneficial": 0.2, "harmful": -0.2, "neutral": 0.0, "undecided": 0.05}
    pair = ("s", "t")
    return JointOrSequential(
        {pair: verdict(sequential, gains[sequential])},
        {pair: verdict(joint, gains[joint]), ("t", "s"): verdict(back, gains[back])},
        {pair: verdict(difference, gains[difference])},
        {pair: verdict("undecided", 0.0)},
        {"t": 100},
    )


@pytest.mark.parametrize(
    ("found", "given", "way", "word"),
    [
        (case("harmful", "neutral"), Circumstances(), "neither", "nothing that is possible"),
        (case("undecided", "undecided"), Circumstances(), "neither", "nothing that is possible"),
        (case("beneficial", "harmful"), Circumstances(), "sequential", "own inputs"),
        (case("neutral", "beneficial"), Circumstances(), "joint", "100 rows"),
        (case("neutral", "beneficial"), Circumstances(source_at_hand=False), "neither", "are gone"),
        (case("beneficial", "beneficial"), Circumstances(), "sequential", "only the target"),
        (case("beneficial", "beneficial"), Circumstances(True, False), "joint", "serves both"),
        (
            case("beneficial", "beneficial", back="harmful"),
            Circumstances(True, False),
            "sequential",
            "harms the source",
        ),
        (case("beneficial", "beneficial", "harmful"), Circumstances(), "joint", "against joint"),
        (
            case("beneficial", "beneficial", "beneficial"),
            Circumstances(True, False),
            "sequential",
            "against joint",
        ),
    ],
)
def test_advice_follows_from_the_verdicts_and_the_circumstances(
    found: JointOrSequential, given: Circumstances, way: str, word: str
) -> None:
    advice = found.advise("s", "t", given)
    assert advice.way == way
    assert any(word in reason for reason in advice.reasons)


def test_advice_on_a_pair_that_was_not_measured_names_those_that_were() -> None:
    with pytest.raises(InputError, match=r"one of \[\('s', 't'\)\]"):
        case("neutral", "neutral").advise("t", "s")


def test_a_joint_comparison_needs_a_source_that_is_a_task() -> None:
    only = learn_sources(PROBLEM, PROBLEM.replicates(2), [OWN_INPUTS], targets=["a2"])
    transfer = measure_transfer(PROBLEM, sources=only, targets=["a2"])
    with pytest.raises(InputError, match="sources that are tasks"):
        compare_joint(PROBLEM, only, transfer)
