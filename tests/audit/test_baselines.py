"""Baselines of a plan: equal width, equal parameters, and random groupings."""

import pytest
from codes import raises

from affinity import (
    Grouping,
    Network,
    Plan,
    Problem,
    TrainingSettings,
    load_digits,
    retrain,
)
from affinity.audit import Audit
from affinity.audit.baselines import (
    BASELINES,
    SAME_SIZE,
    make_candidates,
    match_size,
    permute_tasks,
)


def plan_of(problem: Problem) -> Plan:
    first, second, third, *others = problem.names
    networks = (Network.of(first, second, third), Network.of(*others))
    return Plan(Grouping(networks), ("hard", "hard"), ("", ""))


@pytest.fixture(scope="module")
def problem() -> Problem:
    settings = TrainingSettings(epochs=1, batch_size=512)
    return load_digits(width=16, depth=1).with_settings(settings)


@pytest.fixture(scope="module")
def audit(problem: Problem) -> Audit:
    return retrain(plan_of(problem), problem, replicates=2)


def test_every_baseline_stands_beside_the_plan_with_its_cost(audit: Audit) -> None:
    assert list(audit.candidates) == [
        *("plan", "separate", "all-in-one"),
        *SAME_SIZE.values(),
        "random",
    ]
    cost = {name: each.parameters for name, each in audit.candidates.items()}
    assert cost["separate"] == 8 * (65 * 16 + 17)
    assert cost["all-in-one"] == 65 * 16 + 8 * 17
    assert cost["plan"] == cost["random"] == 2 * 65 * 16 + 8 * 17
    for name in SAME_SIZE.values():
        assert cost[name] == pytest.approx(cost["plan"], rel=0.15)
    multiply_adds = {name: each.multiply_adds for name, each in audit.candidates.items()}
    assert multiply_adds["all-in-one"] == 64 * 16 + 8 * 16
    assert all(each.seconds > 0 for each in audit.candidates.values())
    assert audit.candidates["separate"].plan.width is None


def test_a_random_grouping_is_drawn_anew_on_every_replicate_and_never_advised(audit: Audit) -> None:
    plan = audit.plan
    drawn = [permute_tasks(plan, seed) for seed in range(20)]
    for each in drawn:
        assert each.grouping.tasks == plan.grouping.tasks
        assert [len(network.trained) for network in each.grouping.networks] == [3, 5]
    assert len({each.grouping.networks for each in drawn}) > 10
    assert permute_tasks(plan, 7) == permute_tasks(plan, 7)
    evaluation = audit.candidates["random"].evaluation
    audit.candidates["random"].evaluation.scores.zero_()  # as good as can be
    assert evaluation.overall().mean() == 1
    assert audit.advice != "random"


def test_a_baseline_that_cannot_be_made_is_left_out_and_told(problem: Problem) -> None:
    many = Plan.all_in_one(problem.names)
    narrow = problem.of_width(1)
    found, notes = make_candidates(many, narrow)  # eight networks as small as one of width 1
    assert "separate at equal parameters" not in found
    assert notes[0].code == "baseline-left-out"
    assert "which is what width 1 costs" in notes[0].message
    found, notes = make_candidates(many, problem, baselines=())
    assert list(found) == ["plan", "separate", "all-in-one"]
    assert not notes
    with raises("unknown-baseline"):
        make_candidates(many, problem, baselines=("luck",))


def test_a_baseline_of_the_plans_own_size_is_the_plain_one(problem: Problem) -> None:
    separate = Plan.separate(problem.names)
    assert match_size(separate, separate, problem) == separate
    assert match_size(separate, plan_of(problem), problem).width == 4  # 2216 / (8 x 66)
    found, _ = make_candidates(separate, problem)
    assert found["separate at equal parameters"].plan_of(0) == found["separate"].plan_of(0)
    assert set(found) == {"plan", "separate", "all-in-one", *BASELINES}


def test_the_width_of_a_plan_survives_its_yaml_and_is_trained(problem: Problem) -> None:
    plan = Plan(plan_of(problem).grouping, ("hard", "hard"), ("", ""), width=5)
    again = Plan.from_yaml(plan.to_yaml())
    assert again.width == 5
    audit = retrain(again, problem, replicates=1, baselines=())
    assert audit.candidates["plan"].parameters == 2 * 65 * 5 + 8 * 6
    with raises("invalid-plan"):
        Plan.from_yaml(plan.to_yaml().replace("width: 5", "width: wide"))
