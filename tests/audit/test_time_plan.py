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
    enough_minutes,
    measure_slowness,
    pace_of,
    plan_time,
    plan_trainings,
    with_fitting_length,
    with_usual_epochs,
)
from affinity.grouping import Grouping, Network
from affinity.problems import TrainingResults, load_digits, planted
from affinity.recommendation import Plan
from affinity.training import Job, Result, Trainer, TrainingSettings
from affinity.training.settings import USUAL_EPOCHS

retrain_module = import_module("affinity.audit.retrain")

SMALL = Workload(
    n_tasks=6, n_cells=40_000, n_training=600, batch_size=64, epochs=100, trunk=5_000, head=65
)
LARGE = replace(SMALL, n_cells=12_000_000, n_training=135_000, batch_size=512, trunk=20_000)
MANY = replace(SMALL, n_tasks=1_000, n_training=3_000)
RARE = Workload(  # of 140 rare labels of 6,000 rows
    n_tasks=140, n_cells=1_440_000, n_training=2_880, batch_size=128, epochs=100, trunk=10_500,
    head=65,
)  # fmt: skip
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
    trainings = "training the plan and its baselines"
    assert late.seconds[trainings] < usual.seconds[trainings]
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
    recorded = plan_trainings(plan, SMALL, tries, SMALL.expected_steps, spent=20.0)
    assert recorded.seconds[SHARING] == pytest.approx(plan.seconds[SHARING])


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
    narrow, together = load_digits(width=2), Grouping((Network.of(*names),))
    _, others = affordable_ways(narrow, Workload.of(narrow), together, 1000, 0.0)
    assert "mmoe" not in others  # its experts do not fit
    assert all(others.values())


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
    assert slowness in {2.0**power for power in range(-1, 5)}


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


def test_the_recorded_run_is_no_longer_than_decides_on_the_length_of_trainings() -> None:
    requested = replace(USUAL, minutes=25)
    plan, per_epoch = plan_time(MANY, requested), -(-MANY.n_training // MANY.batch_size)
    assert plan.recorded_epochs is not None
    assert USUAL_EPOCHS < plan.recorded_epochs < MANY.epochs
    steps = plan.recorded_epochs * per_epoch
    assert with_usual_epochs(plan, MANY, requested, steps - MANY.every).epochs == USUAL_EPOCHS
    assert plan.seconds["recording"] == pytest.approx(MANY.record(steps))
    for usual in (SMALL, LARGE):
        assert plan_time(usual, requested).recorded_epochs is None
    chosen = replace(requested, is_chosen=frozenset({"epochs"}))
    assert plan_time(MANY, chosen).recorded_epochs is None


def test_replicates_need_no_room_for_a_race_that_is_over() -> None:
    plan = plan_time(MANY, USUAL)
    raced = plan_trainings(plan, MANY, USUAL, 100, n_networks=10, spent=60.0)
    before = plan_trainings(plan, MANY, USUAL, 100, spent=60.0)
    assert raced.replicates >= before.replicates
    assert (raced.seconds["so far"], "grouping" in raced.seconds) == (60.0, False)


def test_a_corrected_estimate_holds_the_time_that_was_spent() -> None:
    plan = plan_time(MANY, USUAL)
    for spent in (100.0, 1000.0):
        later = plan_trainings(plan, MANY, USUAL, 100, n_networks=10, spent=spent)
        expected = spent + MANY.later_stages(is_grouped=True) + USUAL.reference
        trainings = later.seconds["training the plan and its baselines"]
        assert later.total == pytest.approx(expected + trainings)


SHORT = replace(USUAL, minutes=2, replicates=5, reference=12)


def test_time_that_is_left_first_makes_trainings_longer() -> None:
    plan = plan_time(RARE, SHORT)
    assert (plan.epochs, plan.batch_size) == (8, None)
    steps, shares = [], (0.75, 0.5, 0.35, 0.2, 0.1)
    for share in shares:  # of the limit that was spent until the plan was known
        longer = with_fitting_length(plan, RARE, SHORT, 184, n_networks=1, spent=120 * share)
        work = replace(
            RARE, epochs=longer.epochs or 0, batch_size=longer.batch_size or RARE.batch_size
        )
        steps.append(work.expected_steps)
        assert longer.is_lengthened == (work.expected_steps > 184)
        later = plan_trainings(longer, work, SHORT, work.expected_steps, 1, spent=120 * share)
        assert later.replicates == 3  # more only if trainings cannot be longer
    assert steps == sorted(steps)
    assert steps[0] == 184 < steps[-1]
    chosen = replace(SHORT, is_chosen=frozenset({"epochs", "batch_size"}))
    assert with_fitting_length(plan, RARE, chosen, 184, 1, spent=12.0) == plan


def test_trainings_become_no_longer_than_usual() -> None:
    plan = replace(plan_time(RARE, SHORT), slowness=0.05)  # as measured in the race
    longer = with_fitting_length(plan, RARE, SHORT, 184, n_networks=1, spent=60.0)
    assert (longer.epochs, longer.batch_size) == (USUAL_EPOCHS, None)
    work = replace(RARE, epochs=USUAL_EPOCHS)
    later = plan_trainings(longer, work, SHORT, work.expected_steps, 1, spent=60.0)
    assert later.replicates == SHORT.replicates


@pytest.mark.parametrize("slowness", [1.0, 3.0, 10.0])
def test_trainings_become_shorter_where_two_replicates_would_not_end(slowness: float) -> None:
    requested = replace(USUAL, minutes=17, replicates=5)
    room = 0.9 * 60 * 17 - requested.reference - MANY.later_stages(is_grouped=True)
    plan = replace(plan_time(MANY, requested), slowness=slowness)
    work = replace(MANY, epochs=plan.epochs or 100, batch_size=plan.batch_size or MANY.batch_size)
    planned = work.expected_steps
    two = slowness * work.audit(2, "minimal", planned, 36)
    fits = with_fitting_length(plan, MANY, requested, planned, 36, spent=room - two - 1)
    assert (fits.epochs or 100) >= (plan.epochs or 100)
    shorter = with_fitting_length(plan, MANY, requested, planned, 36, spent=room - two + 1)
    assert (shorter.epochs or 100) < (plan.epochs or 100)
    assert shorter.batch_size == plan.batch_size
    last = with_fitting_length(plan, MANY, requested, planned, 36, spent=room)
    assert last.epochs == 8
    chosen = replace(requested, is_chosen=frozenset({"epochs", "batch_size"}))
    assert with_fitting_length(plan, MANY, chosen, planned, 36, spent=room) == plan


def test_networks_that_are_trained_anyway_take_no_time() -> None:
    none, one = (RARE.audit(3, "minimal", 100, n_networks) for n_networks in (0, 1))
    assert none == pytest.approx(3 * RARE.seconds(141, 280, 100))
    assert one - none == pytest.approx(3 * RARE.seconds(1, 140, 100))


def test_the_pace_is_what_trainings_took_per_counted_second() -> None:
    groups, names = [frozenset("ab"), frozenset("b")], ("a", "b")
    counted = sum(SMALL.seconds(1, n, 500) - SMALL.seconds(0, n, 0) for n in (2, 2, 1))
    seconds = torch.tensor([[0.5, 1.0], [1.5, torch.nan]], dtype=torch.double) * counted
    measured = TrainingResults.from_losses(groups, names, torch.ones(2, 2, 2))
    assert pace_of(replace(measured, seconds=seconds), SMALL, 500) == pytest.approx(3.0)
    unknown = torch.full((2, 2), torch.nan)
    assert pace_of(replace(measured, seconds=unknown), SMALL, 500) == 0


def test_the_limit_that_is_enough_leaves_trainings_their_length() -> None:
    def requested(minutes: float) -> RequestedWork:
        return replace(SHORT, minutes=minutes, reference=min(60.0, 6 * minutes))

    minutes = enough_minutes(RARE, requested, slowness=1.0)
    assert minutes is not None
    assert plan_time(RARE, requested(minutes)).epochs is None
    assert plan_time(RARE, requested(minutes - 1)).epochs is not None
    assert enough_minutes(RARE, requested, slowness=1.0, least=20) == 20
    slow = enough_minutes(RARE, requested, slowness=4.0)
    assert slow is not None
    assert slow > minutes
