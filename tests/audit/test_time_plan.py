"""A time plan changes nothing that fits, and else cuts rows, trainings and replicates."""

from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module

import pytest
import torch

from affinity.audit import retrain
from affinity.audit.measure_sharing import WAYS
from affinity.audit.time_plan import (
    FEWEST_TRAINING_ROWS,
    SHARING,
    RequestedWork,
    TimePlan,
    Workload,
    affordable_ways,
    cost_of_fewer_rows,
    measure_slowness,
    plan_time,
    plan_trainings,
    with_usual_epochs,
)
from affinity.grouping import Grouping, Network
from affinity.problems import load_digits, planted
from affinity.recommendation import Plan
from affinity.training import Job, Result, Trainer, TrainingSettings

retrain_module = import_module("affinity.audit.retrain")

SMALL = Workload(
    n_tasks=6, n_cells=40_000, n_training=600, batch_size=64, epochs=100, trunk=5_000, head=65
)
LARGE = replace(SMALL, n_cells=12_000_000, n_training=135_000, batch_size=512, trunk=20_000)
MANY = replace(SMALL, n_tasks=1_000, n_training=3_000)
USUAL = RequestedWork(minutes=10, replicates=10, baselines="all", race_seconds=180, reference=60)


def test_a_limit_that_does_not_bind_changes_nothing() -> None:
    plan = plan_time(SMALL, USUAL)
    assert not plan.is_cut
    assert plan.choices == ""
    assert plan.race_trainings is None
    assert (plan.replicates, plan.baselines, plan.used_share) == (10, "all", 1.0)
    problem = load_digits()
    assert plan.applied_to(problem).settings == problem.settings
    assert plan.applied_to(problem).resampling == problem.resampling


@pytest.mark.parametrize("minutes", [5.0, 10.0, 15.0, 60.0])
def test_a_large_table_keeps_its_limit(minutes: float) -> None:
    plan = plan_time(LARGE, replace(USUAL, minutes=minutes))
    assert plan.is_cut == bool(plan.choices)
    assert plan.total <= 60 * minutes
    assert plan.used_share * LARGE.n_training >= FEWEST_TRAINING_ROWS
    assert plan.replicates >= 3


def test_more_time_is_used_for_more() -> None:
    short, long = (plan_time(LARGE, replace(USUAL, minutes=m)) for m in (5.0, 120.0))
    assert short.used_share < long.used_share
    assert short.replicates <= long.replicates


def test_a_slow_machine_is_given_less_to_do() -> None:
    usual, slow = plan_time(LARGE, USUAL), plan_time(LARGE, USUAL, slowness=4.0)
    assert slow.used_share < usual.used_share
    assert usual.total <= 60 * USUAL.minutes
    assert slow.total <= 60 * USUAL.minutes


def test_a_busy_machine_is_given_fewer_rows_but_not_fewer_epochs() -> None:
    usual, busy = plan_time(LARGE, USUAL), plan_time(LARGE, USUAL, waiting=4.0)
    assert (busy.used_share < usual.used_share, busy.epochs) == (True, usual.epochs)
    requested = replace(USUAL, minutes=25, replicates=5)
    assert plan_time(MANY, requested, waiting=3.0) == plan_time(MANY, requested)
    assert plan_time(MANY, requested, slowness=3.0).epochs is not None


def test_many_tasks_keep_their_rows() -> None:
    plan = plan_time(MANY, replace(USUAL, minutes=25, replicates=5))
    assert plan.used_share == 1.0
    assert plan.is_cut
    assert plan.baselines == "minimal"


def test_what_the_user_chose_is_not_changed() -> None:
    chosen = frozenset({"replicates", "baselines", "epochs", "batch_size"})
    plan = plan_time(LARGE, replace(USUAL, minutes=1.0, is_chosen=chosen))
    assert (plan.replicates, plan.baselines) == (10, "all")
    assert plan.epochs is None
    assert plan.batch_size is None
    assert plan.total > 60  # it cannot be kept, and the estimate says so


def test_the_steps_of_the_recorded_run_correct_the_plan() -> None:
    plan = plan_time(LARGE, replace(USUAL, minutes=60))
    longer = plan_trainings(plan, LARGE, replace(USUAL, minutes=60), 10 * LARGE.expected_steps)
    assert longer.seconds["recording"] > 5 * plan.seconds["recording"]
    assert longer.replicates <= plan.replicates
    usual = plan_trainings(plan, LARGE, replace(USUAL, minutes=60), LARGE.expected_steps)
    late = plan_trainings(
        plan, LARGE, replace(USUAL, minutes=60), LARGE.expected_steps, spent=50 * 60
    )
    assert late.total < usual.total
    assert late.replicates < usual.replicates


def test_ways_to_share_are_tried_only_in_time_that_is_left() -> None:
    without, tries = plan_time(SMALL, USUAL), replace(USUAL, tries_sharing=True)
    plan = plan_time(SMALL, tries)
    assert SHARING not in without.seconds
    assert plan.required == pytest.approx(without.total)
    names = ("recording", "grouping", "training the plan and its baselines")
    trainings = sum(without.seconds[name] for name in names)
    share_of_limit = 0.1 * 60 * tries.minutes
    assert plan.seconds[SHARING] == pytest.approx(max(0.5 * trainings, share_of_limit))
    assert (plan.replicates, plan.is_cut) == (without.replicates, False)
    short = plan_time(LARGE, tries)  # the race takes what the audit leaves
    assert short.is_cut
    assert short.seconds[SHARING] < 1
    later = plan_trainings(plan, SMALL, tries, SMALL.expected_steps, n_networks=6, spent=200.0)
    assert later.seconds[SHARING] == plan.seconds[SHARING]


def test_ways_to_share_are_left_out_where_they_take_too_long() -> None:
    digits, names = load_digits(), load_digits().names
    work = Workload.of(digits)

    def ways(seconds: float, grouping: Grouping, **more: float) -> tuple[str, ...]:
        tried, others = affordable_ways(digits, work, grouping, 1000, seconds, **more)
        assert {*tried, *others} == set(WAYS) - {"hard"}
        return tried

    pair = Grouping((Network.of(*names[:2]), *map(Network.of, names[2:])))
    assert ways(1000.0, pair) == WAYS[1:]
    assert ways(0.0, pair) == ()
    assert set(ways(36.0, pair)) == set(WAYS) - {"hard", "perceiver"}
    assert set(ways(36.0, pair, slowness=4.0)) < set(ways(36.0, pair))
    assert set(ways(36.0, Grouping((Network.of(*names),)))) < set(ways(36.0, pair))
    _, others = affordable_ways(digits, work, pair, 1000, 0.0)
    assert others["separate"] < others["mmoe"] < others["perceiver"]


@pytest.mark.parametrize(("seconds", "expected"), [(1.0, 2), (35.0, 3), (62.0, 6), (1000.0, 8)])
def test_replicates_stop_when_the_time_is_over(
    seconds: float, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = 0.0
    run_jobs = retrain_module.run_jobs

    def slow(trainer: Trainer, jobs: Sequence[Job]) -> list[Result]:
        nonlocal clock
        clock += 10.0 * len({job.seed for job in jobs})  # 10 s per replicate
        return run_jobs(trainer, jobs)

    monkeypatch.setattr(retrain_module, "run_jobs", slow)
    monkeypatch.setattr(retrain_module.time, "monotonic", lambda: clock)
    problem = planted(n_rows=200).with_settings(TrainingSettings(epochs=1))
    audit = retrain(Plan.all_in_one(problem.names), problem, 8, baselines=(), seconds=seconds)
    assert audit.gains.n_replicates == expected
    assert clock == 10.0 * expected


def test_replicates_use_the_share_of_rows_that_is_planned() -> None:
    problem = planted()
    cut = TimePlan(10, 5, "all", used_share=0.5, epochs=4, batch_size=16).applied_to(problem)
    assert (cut.settings.epochs, cut.settings.patience, cut.settings.batch_size) == (4, 2, 16)
    for part in ("training", "validation", "evaluation"):
        all_rows, some = getattr(problem.draw(3), part), getattr(cut.draw(3), part)
        assert abs(len(some) - 0.5 * len(all_rows)) <= 1
        assert bool(torch.isin(some, all_rows).all())


def test_slowness_is_a_power_of_two_and_costs_no_random_numbers() -> None:
    before = torch.get_rng_state()
    slowness = measure_slowness(load_digits(), Workload.of(load_digits()))
    assert torch.equal(before, torch.get_rng_state())
    assert slowness in {2.0**power for power in range(5)}


def test_fewer_rows_cost_something() -> None:
    problem = load_digits().with_settings(TrainingSettings(epochs=4))
    costs = cost_of_fewer_rows(problem, seed=9)
    assert costs[0.25] > costs[0.5] > 0


def test_many_tasks_train_no_more_epochs_than_usual_where_a_race_would_not_fit() -> None:
    requested = replace(USUAL, minutes=25)
    plan = plan_time(MANY, requested)
    assert plan.epochs is None
    longest = 4 * MANY.expected_steps  # of 100 epochs
    assert with_usual_epochs(plan, MANY, requested, longest).epochs == 25
    assert with_usual_epochs(plan, MANY, requested, MANY.expected_steps) == plan
    chosen = replace(requested, is_chosen=frozenset({"epochs"}))
    assert with_usual_epochs(plan, MANY, chosen, longest) == plan
    few = replace(MANY, n_tasks=20)
    assert with_usual_epochs(plan, few, requested, longest) == plan


def test_replicates_need_no_room_for_a_race_that_is_over() -> None:
    plan = plan_time(MANY, USUAL)
    raced = plan_trainings(plan, MANY, USUAL, 100, n_networks=10, spent=60.0)
    before = plan_trainings(plan, MANY, USUAL, 100, spent=60.0)
    assert raced.replicates >= before.replicates
    assert raced.seconds["grouping"] == plan.seconds["grouping"]
