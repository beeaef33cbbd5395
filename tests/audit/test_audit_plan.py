"""Audits of trainings that anybody runs: known gains, units, failures, and pages."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from codes import raises

import affinity
from affinity import Audit, Plan, Score
from affinity.audit import audit_from_results, audit_jobs, audit_plan
from affinity.grouping import Grouping, Network
from affinity.report import audit_headline
from affinity.training import FunctionTrainer, Job, Result, Scores

TASKS = ("ctr", "like > 1", "watch")
PLAN = Plan(
    Grouping((Network.of("ctr", "like > 1"), Network.of("watch"))), ("hard", "separate"), ("", "")
)


def made_up(
    base: float, effect: float, noise: float = 0.001, rows: int = 0, test: bool = True
) -> Callable[..., Scores]:
    """Scores of `base`, plus `effect` for "ctr" and "like > 1" together, minus it for others."""

    def train(tasks: tuple[str, ...], seed: int, **settings: object) -> Scores:
        by_task: dict[str, float] = {}
        blocks: dict[str, np.ndarray] = {}
        for task in tasks:
            random = np.random.default_rng([seed, *map(ord, "".join(tasks) + task)])
            partners = set(tasks) - {task}
            sign = 0 if not partners else 1 if partners <= {"ctr", "like > 1"} else -1
            by_task[task] = base + sign * effect + noise * float(random.normal())
            if rows:
                blocks[task] = by_task[task] + random.normal(0, noise, rows)
        wide = 2 if settings else 1
        return Scores(
            validation=by_task,
            test={task: score + 1e-4 for task, score in by_task.items()} if test else None,
            rows=blocks or None,
            parameters=100 * wide,
            seconds=2.0,
        )

    return train


def audited(train: Callable[..., object], direction: str | Score, **options: object) -> Audit:
    tasks = dict.fromkeys(TASKS, direction)
    return audit_plan(PLAN, FunctionTrainer(train), tasks, **{"seed": 1, **options})  # pyright: ignore


def test_known_differences_of_a_metric_are_found() -> None:
    audit = audited(made_up(0.7, 0.03), "maximize")
    gains = audit.gains.by_task()
    assert gains == pytest.approx({"ctr": 0.03, "like > 1": 0.03, "watch": 0.0}, abs=0.003)
    assert audit.overall.verdict == "beneficial"
    assert audit.overall.unit == "difference"
    assert audit.verdicts_of("all-in-one")["watch"].verdict == "beneficial"
    assert audit.advice == "plan"
    assert audit.candidates["plan"].parameters == 200
    assert audit.candidates["separate"].seconds == 6.0


def test_negative_losses_are_compared_relatively() -> None:
    audit = audited(made_up(-2.0, -0.5), "minimize")  # sharing lowers the loss by 0.5
    assert audit.gains.by_task()["ctr"] == pytest.approx(0.25, abs=0.01)
    assert audit.verdicts["ctr"].verdict == "beneficial"
    assert audit.summary().tasks[0].unit == "relative"


def test_a_unit_is_the_tolerance() -> None:
    """0.003 of AUC is nothing by default, and three differences that matter with a unit."""
    small = made_up(0.7, 0.003, noise=0.0002)
    assert audited(small, "maximize").verdicts["ctr"].verdict == "neutral"
    audit = audited(small, Score("maximize", unit=0.001))
    assert audit.verdicts["ctr"].verdict == "beneficial"
    assert audit.overall.unit == "common"
    assert audit.overall.gain == pytest.approx(10 * 0.003 * 2 / 3, rel=0.2)


def test_each_group_is_trained_once_per_seed_to_judge() -> None:
    jobs = audit_jobs(PLAN, TASKS, [4, 5], baselines=())
    groups = [(job.tasks, job.seed) for job in jobs]
    assert len(set(groups)) == len(groups) == 2 * 5  # three alone, the pair, all
    assert {job.purpose for job in jobs} == {"judge"}
    assert len({job.id for job in jobs}) == len(jobs)
    random = audit_jobs(PLAN, TASKS, [4, 5], baselines=["random"])
    assert {(job.tasks, job.seed) for job in random} >= set(groups)
    assert all(len(job.tasks) in (1, 2, 3) for job in random)


def test_results_may_come_in_any_order_from_anywhere() -> None:
    train, seeds = made_up(0.7, 0.03), [4, 5, 6]
    jobs = audit_jobs(PLAN, TASKS, seeds)
    results = [Result.of(job, train(job.names, job.seed)) for job in reversed(jobs)]
    tasks = dict.fromkeys(TASKS, "maximize")
    audit = audit_from_results(PLAN, tasks, seeds, results)
    direct = audited(train, "maximize", replicates=3, seed=4)
    assert audit.gains.by_task() == direct.gains.by_task()
    assert audit.context.seeds == (4, 5, 6)


def test_the_audit_says_what_intervals_are_over() -> None:
    without = audited(made_up(0.7, 0.03), "maximize")
    assert without.context.intervals == "replicates"
    assert without.gains.score_blocks is None
    with_rows = audited(made_up(0.7, 0.03, rows=50), "maximize")
    assert with_rows.context.intervals == "test rows and replicates"
    assert with_rows.gains.score_blocks is not None
    assert with_rows.gains.score_blocks.shape == (5, 3, 50)
    assert with_rows.gains.by_task() == pytest.approx(without.gains.by_task(), abs=0.005)


def test_rows_that_differ_in_number_are_left_out() -> None:
    def train(tasks: tuple[str, ...], seed: int) -> Scores:
        return made_up(0.7, 0.03, rows=10 + len(tasks))(tasks, seed)

    audit = audited(train, "maximize")
    assert audit.gains.score_blocks is None
    assert "row-scores-differ" in {limit.code for limit in audit.context.limits}


def test_one_score_per_task_shares_its_rows_and_the_page_says_so() -> None:
    audit = audited(made_up(0.7, 0.03, test=False), "maximize")
    assert [limit.code for limit in audit.context.limits] == ["shared-rows"]
    assert audit.gains.by_task() == audit.candidates["plan"].evaluation.by_task()
    assert [limit.code for limit in audited(made_up(0.7, 0.1), "maximize").context.limits] == []


def test_decisions_see_validation_scores_and_judgements_test_scores() -> None:
    def train(tasks: tuple[str, ...], seed: int) -> Scores:  # noqa: ARG001
        good = dict.fromkeys(tasks, 0.7 + 0.1 * len(tasks))
        return Scores(validation=good, test={task: 1 - score for task, score in good.items()})

    audit = audited(train, "maximize")
    assert audit.advice == "all-in-one"
    assert audit.overall_of("all-in-one").gain == pytest.approx(-0.2)


def test_a_failure_is_missing_data() -> None:
    """The replicate is left out for every candidate; a retry comes first."""
    calls: list[tuple[tuple[str, ...], int]] = []

    def train(tasks: tuple[str, ...], seed: int) -> Scores:
        calls.append((tasks, seed))
        if tasks == ("ctr", "like > 1") and seed == 3:
            raise MemoryError("out of memory")
        return made_up(0.7, 0.03)(tasks, seed)

    audit = audited(train, "maximize")
    assert calls.count((("ctr", "like > 1"), 3)) == 2
    assert audit.gains.n_replicates == 4
    assert audit.context.seeds == (1, 2, 4, 5)
    (limit,) = audit.context.limits
    assert limit.code == "failed-training"
    assert "out of memory" in limit.message
    assert audit.verdicts["ctr"].verdict == "beneficial"


def test_a_group_that_always_fails_has_no_gains() -> None:
    def train(tasks: tuple[str, ...], seed: int) -> Scores:
        if len(tasks) == 3:
            raise RuntimeError("too large")
        return made_up(0.7, 0.03)(tasks, seed)

    audit = audited(train, "maximize", retries=0)
    assert audit.gains.n_replicates == 5
    assert np.isnan(audit.overall_of("all-in-one").gain)
    assert audit.overall.verdict == "beneficial"
    assert audit.advice == "plan"
    assert json.loads(audit.to_json())["candidates"]["all-in-one"]["gain"]["mean"] is None


def test_without_any_success_there_is_no_audit() -> None:
    with raises("all-trainings-failed"):
        audited(lambda *_: {}, "maximize", replicates=2)


@dataclass
class AnyWidth:
    """A trainer that accepts widths."""

    jobs: list[Job] = field(default_factory=list[Job])
    accepts: frozenset[str] = frozenset({"width"})

    def __call__(self, jobs: Iterable[Job]) -> Iterator[Result]:
        for job in jobs:
            self.jobs.append(job)
            scores = made_up(0.7, 0.03)(job.names, job.seed, **job.settings)
            yield Result.of(job, scores)


def test_equal_parameters_are_asked_of_trainers_that_accept_a_width() -> None:
    trainer = AnyWidth()
    tasks: Mapping[str, str] = dict.fromkeys(TASKS, "maximize")
    audit = audit_plan(PLAN, trainer, tasks, replicates=2)
    assert set(audit.candidates) > {
        "separate at equal parameters",
        "all-in-one at equal parameters",
    }
    widths = {(job.settings["width"], len(job.tasks)) for job in trainer.jobs if job.settings}
    assert widths == {(round((2 / 3) ** 0.5, 4), 1), (round(2**0.5, 4), 3)}
    left_out = audited(made_up(0.7, 0.03), "maximize", baselines=["all-in-one at equal parameters"])
    assert [limit.code for limit in left_out.context.limits] == ["baseline-left-out"]


def test_bad_input() -> None:
    with raises("different-tasks"):
        audit_jobs(PLAN, ("ctr", "watch"), [1])
    with raises("unknown-baseline"):
        audit_jobs(PLAN, TASKS, [1], baselines=["best"])
    with raises("no-replicates"):
        audited(made_up(0.7, 0.03), "maximize", replicates=0)
    mixture = Plan(PLAN.grouping, ("mmoe", "separate"), ("", ""))
    with raises("setting-not-accepted"):
        audit_plan(mixture, FunctionTrainer(made_up(0.7, 0.03)), dict.fromkeys(TASKS, "maximize"))


@pytest.mark.parametrize(
    "score", ["maximize", "minimize", Score("maximize", unit=0.001)], ids=["max", "min", "unit"]
)
@pytest.mark.usefixtures("blank_pictures")
def test_it_is_an_ordinary_audit(score: str | Score, tmp_path: Path) -> None:
    audit = audited(made_up(0.7, 0.03), score)
    read = affinity.load(affinity.save(audit, tmp_path / "audit.safetensors"))
    assert read.to_json() == audit.to_json()
    page = affinity.write_report(read, tmp_path / "report.html").read_text()
    measured = page[page.index('<section id="gains"') :]
    assert ("\u202f%</span>" in measured) == (score == "minimize")
    units = {task["unit"] for task in json.loads(audit.to_json())["tasks"]}
    assert units == {"relative" if score == "minimize" else "difference"}
    assert ("of test scores" in page) == (score != "minimize")


@pytest.mark.usefixtures("blank_pictures")
def test_the_page_shows_one_score_and_no_promise_that_is_not_kept(tmp_path: Path) -> None:
    shared = audited(made_up(0.7, 0.03, test=False), "maximize")
    page = affinity.write_report(shared, tmp_path / "shared.html").read_text()
    assert "Score, separate → plan" in page
    assert "Loss, separate → plan" not in page
    assert 'data-code="shared-rows"' in page
    assert "judged on test rows that no decision used" not in page
    apart = affinity.write_report(audited(made_up(0.7, 0.03), "maximize"), tmp_path / "apart.html")
    assert "judged on test rows that no decision used" in apart.read_text()


def test_a_task_without_scores_is_named() -> None:
    def train(tasks: tuple[str, ...], seed: int) -> Scores:
        scores = made_up(0.7, 0.03)(tasks, seed)
        undefined = {**(scores.test or {}), **({"watch": None} if "watch" in tasks else {})}
        known = {task: score for task, score in undefined.items() if score is not None}
        return Scores(validation=scores.validation, test=undefined) if known else scores

    tasks = ("watch", "ctr")
    plan = Plan.all_in_one(tasks)
    audit = audit_plan(plan, FunctionTrainer(train), dict.fromkeys(tasks, "maximize"))
    assert [(limit.code, limit.task) for limit in audit.context.limits] == [
        ("undefined-score", "watch")
    ]
    assert np.isnan(audit.gains.by_task()["watch"])
    assert audit.verdicts["watch"].verdict == "undecided"
    assert np.isfinite(audit.overall.gain)


def test_a_width_that_no_plan_can_hold_is_neither_advised_nor_ignored() -> None:
    def train(tasks: tuple[str, ...], seed: int, width: float = 1.0) -> Scores:
        scores = dict.fromkeys(tasks, 0.5 + 0.2 * (width - 1) + 0.001 * seed)
        return Scores(validation=scores, test=scores)

    audit = audited(train, "maximize")
    wide = audit.candidates["all-in-one at equal parameters"]
    assert wide.test.overall().mean() > 0.05  # better, but "one network" is not what was trained
    assert audit.advice == "all-in-one"
    with raises("width-unknown"):
        audit_plan(
            replace(PLAN, width=32), FunctionTrainer(train), dict.fromkeys(TASKS, "maximize")
        )


def test_where_no_replicate_is_complete_nothing_is_advised() -> None:
    train = made_up(0.7, 0.03)

    def failing(tasks: tuple[str, ...], seed: int) -> Scores:
        if len(tasks) == 3 or (len(tasks) == 2) == bool(seed % 2):
            raise RuntimeError("out of memory")
        return train(tasks, seed)

    audit = audited(failing, "maximize", replicates=4)
    assert audit.advice == "plan"
    assert audit.overall.verdict == "undecided"
    assert audit.beyond_budget is None
    assert audit.decide().plan == PLAN
    assert "failed-training" in {limit.code for limit in audit.context.limits}
    assert audit_headline(audit).finding == "incomplete"


def test_scores_around_zero_are_told() -> None:
    for score, is_told in (("minimize", True), (Score("minimize", unit=0.01), False)):
        audit = audited(made_up(0.0, 0.0), score, replicates=4)
        codes = {limit.code for limit in audit.context.limits}
        assert ("scores-around-zero" in codes) == is_told


def test_a_candidate_without_a_score_of_a_task_is_not_advised() -> None:
    """All in one is the best for two tasks, and gives no score of the third."""

    def train(tasks: tuple[str, ...], seed: int) -> dict[str, float | None]:
        scores: dict[str, float | None] = dict.fromkeys(tasks, 0.5 + 0.1 * len(tasks) + seed * 1e-9)
        return scores | ({"watch": None} if len(tasks) == 3 else {})

    audit = audited(train, "maximize", replicates=3)
    assert audit.advice == "plan"
    undefined = [limit for limit in audit.context.limits if limit.code == "undefined-score"]
    assert [limit.task for limit in undefined] == ["watch"]


def test_a_plan_is_judged_on_other_seeds_than_it_was_chosen_on() -> None:
    """All scores are noise: a race finds a plan that fits it, which gains nothing elsewhere."""
    seeds: dict[str, set[int]] = {"race": set(), "audit": set()}
    stage = "race"

    def train(tasks: tuple[str, ...], seed: int) -> dict[str, float]:
        seeds[stage].add(seed)
        random = np.random.default_rng([seed, *map(ord, "".join(tasks))])
        return {task: 0.7 + 0.1 * float(random.normal()) for task in tasks}

    trainer, tasks = FunctionTrainer(train), dict.fromkeys(TASKS, "maximize")
    plan = affinity.Race(trainings=24)(trainer, tasks=tasks).to_plan()
    stage = "audit"
    audit_plan(plan, trainer, tasks)
    assert len(seeds["audit"]) == 5
    assert seeds["race"].isdisjoint(seeds["audit"])
