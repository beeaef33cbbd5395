"""Measured transfer: pairs, controls, verdicts, and what is chosen."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from codes import raises
from made_up import made_up_pair
from torch import nn

from affinity.errors import InputError
from affinity.problems import load_digits, planted, train_networks
from affinity.tasks import Examples, Replicate
from affinity.training import TrainingSettings
from affinity.transfer import (
    ALL_OTHERS,
    OWN_INPUTS,
    RECIPES,
    FullFineTuning,
    GradualUnfreezing,
    LinearProbe,
    ProbeThenTune,
    Recipe,
    Sources,
    SurgicalFineTuning,
    TrainingFromScratch,
    Transfer,
    TuningJob,
    learn_sources,
    measure_transfer,
    plan_for,
    pretrain_on_inputs,
    read_trunk,
    save_trunk,
    tune,
)

PROBLEM = planted(tasks_per_cluster=2, n_rows=150).with_settings(
    TrainingSettings(epochs=3, batch_size=32)
)
ON = PROBLEM.replicates(2)
every_recipe = pytest.mark.parametrize("recipe", RECIPES.values(), ids=list(RECIPES))


@pytest.fixture(scope="module")
def sources() -> Sources:
    return learn_sources(PROBLEM, ON, groups={"the b": ["b1", "b2"]})


@pytest.fixture(scope="module")
def transfer(sources: Sources) -> Transfer:
    return measure_transfer(PROBLEM, sources=sources)


def test_every_source_goes_to_every_target_that_it_was_not_trained_on(transfer: Transfer) -> None:
    names = PROBLEM.names
    assert transfer.sources == (*names, ALL_OTHERS, OWN_INPUTS, "the b")
    expected = {(s, t) for s in names for t in names if s != t}
    expected |= {(s, t) for s in (ALL_OTHERS, OWN_INPUTS) for t in names}
    expected |= {("the b", t) for t in names if t not in ("b1", "b2")}
    assert set(transfer.pairs) == expected == set(transfer.verdicts)
    assert transfer.values().isfinite().tolist() == transfer.is_measured.tolist()


def test_from_scratch_is_the_training_of_the_target_alone(transfer: Transfer) -> None:
    alone = train_networks(PROBLEM, [frozenset({name}) for name in PROBLEM.names], ON)
    for column, name in enumerate(PROBLEM.names):
        torch.testing.assert_close(
            transfer.scratch.test[0, :, column], alone.test_loss[column, :, column]
        )
        torch.testing.assert_close(
            transfer.scratch.evaluation[0, :, column], alone.evaluation_loss[column, :, column]
        )
        assert name in transfer.targets


def test_transfer_by_the_recipe_from_scratch_gains_nothing(sources: Sources) -> None:
    transfer = measure_transfer(PROBLEM, TrainingFromScratch(), sources, targets=["a1", "b1"])
    assert all(verdict.gain == pytest.approx(0, abs=1e-6) for verdict in transfer.verdicts.values())
    assert {verdict.verdict for verdict in transfer.verdicts.values()} == {"neutral"}


@every_recipe
def test_a_tuning_among_others_is_the_tuning_alone_and_its_own_repeat(
    recipe: Recipe, sources: Sources
) -> None:
    plan = plan_for(PROBLEM, recipe)
    jobs = [TuningJob(target, 0, sources.trunks["a1"][target][0]) for target in ("a2", "b1", "c1")]
    together = tune(PROBLEM, plan, jobs, ON)
    (alone,) = tune(PROBLEM, plan, jobs[1:2], ON)
    assert together[1].test_loss["b1"] == pytest.approx(alone.test_loss["b1"], rel=1e-4)
    assert tune(PROBLEM, plan, jobs, ON)[1].test_loss == together[1].test_loss


def test_a_linear_probe_leaves_the_source_s_trunk_bit_for_bit(sources: Sources) -> None:
    trunk = sources.trunks["a1"]["a2"][1]
    (result,) = tune(
        PROBLEM, plan_for(PROBLEM, LinearProbe()), [TuningJob("a2", 1, trunk)], ON, keep=True
    )
    assert result.state is not None
    assert all(torch.equal(result.state[name], value) for name, value in trunk.items())


def test_later_phases_count_where_they_lower_the_validation_loss(sources: Sources) -> None:
    job = TuningJob("a2", 0, sources.trunks["b1"]["a2"][0])
    both = plan_for(PROBLEM, ProbeThenTune(), 8)
    probe = replace(both, phases=both.phases[:1])
    (after,), (before,) = tune(PROBLEM, both, [job], ON), tune(PROBLEM, probe, [job], ON)
    assert after.validation_loss["a2"] <= before.validation_loss["a2"]
    ruined = replace(
        both,
        phases=(
            both.phases[0],
            replace(both.phases[1], learning_rate_scales=dict.fromkeys(both.blocks, 1e6)),
        ),
    )
    (kept,) = tune(PROBLEM, ruined, [job], ON)
    assert kept.test_loss["a2"] == pytest.approx(before.test_loss["a2"])


def test_another_order_of_tasks_gives_the_same_gains_in_that_order(transfer: Transfer) -> None:
    turned = measure_transfer(PROBLEM, replicates=2, targets=PROBLEM.names[::-1])
    for pair in (("a1", "a2"), ("b1", "a1"), (ALL_OTHERS, "c1"), (OWN_INPUTS, "b2")):
        assert turned.verdicts[pair].gain == pytest.approx(
            transfer.verdicts[pair].gain, rel=1e-3, abs=1e-4
        )


@pytest.mark.slow
def test_few_rows_of_a_target_gain_more_from_a_task_of_its_cluster_than_from_others() -> None:
    problem = planted(n_rows=800)
    on = problem.replicates(3)
    sources = learn_sources(problem, on, ["a1", "b1", "c1"], targets=["a2"])
    few = [
        replace(
            each,
            training=each.training.take(torch.arange(48)),
            validation=each.validation.take(torch.arange(60)),
        )
        for each in on
    ]
    gains = measure_transfer(problem, LinearProbe(), sources, few, targets=["a2"]).values()[:, 0]
    assert gains[0] > 0.15
    assert gains[1:].abs().max() < 0.1


def test_a_stored_tuning_is_not_done_again(sources: Sources, tmp_path: Path) -> None:
    first = measure_transfer(PROBLEM, sources=sources, targets=["a1"], store=tmp_path)
    files = {file: file.stat().st_mtime_ns for file in tmp_path.iterdir()}
    again = measure_transfer(PROBLEM, sources=sources, targets=["a1"], store=tmp_path)
    assert {file: file.stat().st_mtime_ns for file in tmp_path.iterdir()} == files
    assert torch.equal(first.tuned.test.nan_to_num(), again.tuned.test.nan_to_num())


def test_the_control_looks_at_no_label() -> None:
    (replicate,) = PROBLEM.replicates(1)

    def blind(rows: Examples) -> Examples:
        return Examples(rows.inputs, torch.full_like(rows.targets, math.nan))

    hidden = Replicate(
        replicate.seed,
        blind(replicate.training),
        blind(replicate.validation),
        blind(replicate.test),
    )
    torch.manual_seed(0)
    trunk = PROBLEM.trunk()
    state = torch.get_rng_state()
    one = pretrain_on_inputs(trunk, replicate, PROBLEM.settings)
    other = pretrain_on_inputs(trunk, hidden, PROBLEM.settings)
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    assert any(not torch.equal(value, trunk.state_dict()[name]) for name, value in one.items())
    assert torch.equal(state, torch.get_rng_state())


def test_gains_beyond_the_control_are_those_against_it(transfer: Transfer) -> None:
    verdict = transfer.beyond_own_inputs["a1", "a2"]
    at = transfer.targets.index("a2")
    own, source = (
        transfer.tuned.test[transfer.sources.index(n), :, at] for n in (OWN_INPUTS, "a1")
    )
    assert verdict.gain == pytest.approx(float((own.mean() - source.mean()) / own.mean()), rel=1e-6)
    assert (OWN_INPUTS, "a2") not in transfer.beyond_own_inputs


def test_the_best_source_is_chosen_on_evaluation_rows_and_may_be_none() -> None:
    assert made_up_pair([2.0, 2.0], [0.5, 0.5]).best_sources() == {"edges": "depth"}
    assert made_up_pair([0.5, 0.5], [2.0, 2.0]).best_sources() == {"edges": None}


def test_weights_of_a_file_are_a_source_as_any_other(sources: Sources, tmp_path: Path) -> None:
    trunk = PROBLEM.trunk()
    trunk.load_state_dict(
        {n.removeprefix("trunk."): v for n, v in sources.trunks["a1"]["a2"][0].items()}
    )
    file = save_trunk(
        nn.ModuleDict({"model": trunk, "head": nn.Linear(1, 1)}), tmp_path / "all.safetensors"
    )
    with raises("different-architecture"):
        read_trunk(nn.Linear(3, 3), file)
    loaded = learn_sources(
        PROBLEM, ON[:1], [], weights={"elsewhere": save_trunk(trunk, tmp_path / "t.safetensors")}
    )
    for name, value in sources.trunks["a1"]["a2"][0].items():
        assert torch.equal(loaded.trunks["elsewhere"]["a2"][0][name], value)
    from_file = measure_transfer(PROBLEM, FullFineTuning(), loaded, targets=["a2"])
    trained = measure_transfer(
        PROBLEM, FullFineTuning(), learn_sources(PROBLEM, ON[:1], ["a1"]), targets=["a2"]
    )
    torch.testing.assert_close(from_file.tuned.test, trained.tuned.test)


def test_weights_under_a_common_beginning_are_found_beside_others(tmp_path: Path) -> None:
    trunk = nn.Linear(2, 3)
    file = save_trunk(nn.ModuleDict({"encoder": trunk}), tmp_path / "whole.safetensors")
    assert torch.equal(read_trunk(nn.Linear(2, 3), file)["weight"], trunk.weight)


def test_weights_of_another_architecture_are_refused_name_by_name(tmp_path: Path) -> None:
    file = save_trunk(
        nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 3)), tmp_path / "other.safetensors"
    )
    with raises("different-architecture") as info:
        read_trunk(nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 3, bias=False)), file)
    assert "Unexpected: ['1.bias']" in str(info.value)
    with raises("different-architecture") as info:
        read_trunk(nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 3), nn.Linear(3, 3)), file)
    assert "Missing: ['2.weight', '2.bias']" in str(info.value)
    with raises("different-architecture") as info:
        read_trunk(nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 3)), file)
    assert "0.weight [3, 2] in the file, [3, 4]" in str(info.value)
    with raises("unreadable-file"):
        read_trunk(nn.Linear(1, 1), tmp_path / "missing.safetensors")


def test_a_source_whose_trunk_does_not_fit_the_target_s_is_refused(sources: Sources) -> None:
    wider = load_digits(width=8)
    job = TuningJob("odd", 0, sources.trunks["a1"]["a2"][0])
    with pytest.raises(InputError, match=r"other shapes: \['trunk.*, here"):
        tune(wider, plan_for(wider, FullFineTuning()), [job], wider.replicates(1))
    others = replace(sources, trunks={"a1": {"odd": [job.trunk]}}, names=("a1",), replicates=[])
    with raises("different-architecture"):
        measure_transfer(wider, sources=others, replicates=[], targets=["odd"])


def test_what_cannot_be_a_source_is_named() -> None:
    for wrong in ({"sources": ["a9"]}, {"groups": {"g": ["a9"]}}, {"targets": ["a9"]}):
        with raises("unknown-task"):
            learn_sources(PROBLEM, ON[:1], **wrong)
    with raises("empty-group"):
        learn_sources(PROBLEM, ON[:1], [], groups={"g": []})
    with raises("duplicate-source"):
        learn_sources(PROBLEM, ON[:1], ["a1"], groups={"a1": ["a2"]})
    with raises("unknown-task"):
        measure_transfer(PROBLEM, targets=["a9"])


def test_a_plan_of_a_recipe_speaks_of_the_problem_s_own_blocks() -> None:
    assert plan_for(PROBLEM, GradualUnfreezing(), 10).blocks[-1] == "heads"
    with raises("unknown-block"):
        plan_for(PROBLEM, SurgicalFineTuning("stem"))
