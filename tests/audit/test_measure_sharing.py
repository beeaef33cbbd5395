"""Ways to share are measured on equal terms, and gates that no longer choose are vetoed."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from codes import raises, warns

from affinity import Examples, Grouping, Network, Plan, Problem, TrainingSettings
from affinity.audit import measure_sharing, retrain
from affinity.problems import NetworkTrainer, load_digits, planted
from affinity.problems.strength import STRENGTHS
from affinity.recommendation.measured_sharing import choose_sharing
from affinity.sharing import MMoE, Sharing
from affinity.training import FunctionTrainer, GradNorm, Job, Objective, Sum, Weighted


@pytest.fixture(scope="module")
def problem() -> Problem:
    settings = TrainingSettings(epochs=1, batch_size=128)
    return planted(n_clusters=1, tasks_per_cluster=2, n_rows=300, n_features=6).with_settings(
        settings
    )


GROUPING = Grouping((Network.of("a1", "a2"),))


def test_every_way_is_measured_against_hard_sharing_on_the_same_replicates(
    problem: Problem,
) -> None:
    with warns("sharing-not-compared"):
        measured = measure_sharing(problem, GROUPING, replicates=2)
    ways = measured[frozenset({"a1", "a2"})]
    assert [each.sharing for each in ways] == [
        *("hard", "soft", "mmoe", "separate", "relationship", "perceiver")
    ]  # the trunk has one stage, so cross-stitch does not fit
    assert np.array_equal(ways[0].gains, np.zeros(2))
    assert ways[1].settings["strength"] in STRENGTHS
    for each in ways[1:]:
        assert np.isfinite(each.gains).all()
        assert each.gains.any()
        assert each.test_gains.any()


def test_networks_are_measured_together_as_each_by_itself() -> None:
    settings = TrainingSettings(epochs=1, batch_size=128)
    digits = load_digits(width=8).with_settings(settings)
    groups = (Network.of("odd", "prime"), Network.of("ink", "centre x"), Network.of("loop"))
    together = measure_sharing(digits, Grouping(groups), 2, ways=["mmoe"])
    assert set(together) == {groups[0].trained, groups[1].trained}
    for group in groups[:2]:
        alone = measure_sharing(digits, Grouping((group,)), 2, ways=["mmoe"])
        for way, same in zip(together[group.trained], alone[group.trained], strict=True):
            assert way.sharing == same.sharing
            np.testing.assert_allclose(way.gains, same.gains, rtol=1e-3, atol=1e-6)


@pytest.mark.usefixtures("in_one_process")
def test_a_mixture_is_measured_with_any_objective(problem: Problem) -> None:
    settings = replace(problem.settings, epochs=1, objective=GradNorm())
    measured = measure_sharing(
        problem.with_settings(settings), GROUPING, replicates=2, ways=["mmoe"]
    )
    assert [way.sharing for way in measured[frozenset({"a1", "a2"})]] == ["hard", "mmoe"]


def test_a_lone_task_has_nothing_to_choose(problem: Problem) -> None:
    alone = Grouping((Network.of("a1"), Network.of("a2")))
    assert measure_sharing(problem, alone, replicates=1) == {}


def test_a_mixture_whose_gates_take_one_expert_is_vetoed(
    problem: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_network = NetworkTrainer.make_network

    def stuck(trainer: NetworkTrainer, job: Job) -> Sharing:
        network = make_network(trainer, job)
        if isinstance(network, MMoE):
            network.load_state_dict = lambda _: None  # what was trained is not looked at
            with torch.no_grad():
                for gate in network.gates:
                    gate.register_forward_hook(lambda *_: torch.tensor([[99.0, 0.0, 0.0, 0.0]]))
        return network

    monkeypatch.setattr(NetworkTrainer, "make_network", stuck)
    measured = measure_sharing(problem, GROUPING, replicates=2, ways=["mmoe"])
    (_, mixture) = measured[frozenset({"a1", "a2"})]
    assert mixture.veto == "the gate of a1 takes one expert on 2 of 2 replicates"


def test_no_replicate_is_an_error(problem: Problem) -> None:
    with raises("no-replicates"):
        measure_sharing(problem, GROUPING, replicates=0)


def test_ways_of_any_trainer_that_offers_them_are_measured() -> None:
    def train(tasks: tuple[str, ...], seed: int, sharing: str = "hard") -> dict[str, float]:
        return dict.fromkeys(tasks, 0.7 + 0.05 * (sharing == "soft") + 0.001 * seed)

    scores = {"a1": "maximize", "a2": "maximize"}
    trainer = FunctionTrainer(train)
    measured = measure_sharing(trainer, GROUPING, 3, ways=["soft"], tasks=scores)
    hard, soft = measured[frozenset({"a1", "a2"})]
    assert (hard.sharing, soft.sharing) == ("hard", "soft")
    np.testing.assert_allclose(soft.gains, 0.05)
    assert choose_sharing([hard, soft])[0] == "soft"
    with raises("setting-not-accepted"):
        measure_sharing(FunctionTrainer(train, settings=()), GROUPING, tasks=scores)
    with raises("missing-task"):
        measure_sharing(trainer, GROUPING, tasks={"a1": "maximize"})


def test_losses_on_different_scales_are_a_limitation(problem: Problem) -> None:
    def codes(scale: float, objective: Objective) -> set[str]:
        targets = problem.development.targets * torch.tensor([1.0, scale])
        changed = replace(
            problem,
            development=Examples(problem.development.inputs, targets),
            settings=replace(problem.settings, objective=objective),
        )
        audit = retrain(Plan.all_in_one(changed.names), changed, replicates=2, baselines=())
        return {limit.code for limit in audit.context.limits}

    assert "loss-scales" in codes(5.0, Sum())
    assert "loss-scales" not in codes(5.0, Weighted((("a2", 1 / 25),)))
    assert "loss-scales" not in codes(1.0, Sum())
