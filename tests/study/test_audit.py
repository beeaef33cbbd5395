"""Audits of studies: fresh seeds, by a function or by ask and tell, continued and apart."""

from pathlib import Path

import numpy as np
import pytest
from codes import raises

import affinity
from affinity import Plan, Scores, Study
from affinity.training import Job

TASKS = ("a", "b", "c")


def train(tasks: tuple[str, ...], seed: int) -> Scores:
    """Tasks a and b help each other by 0.05; c is harmed by company."""
    scores: dict[str, float] = {}
    for task in tasks:
        noise = np.random.default_rng([seed, ord(task), len(tasks)]).normal(0, 0.002)
        helped = task in "ab" and {"a", "b"} <= set(tasks)
        harmed = "c" in tasks and len(tasks) > 1
        scores[task] = 0.7 + 0.05 * helped - 0.1 * harmed + float(noise)
    return Scores(validation=scores, test=scores, seconds=1.0)


def decided_study(folder: Path) -> Study:
    study = Study(folder, dict.fromkeys(TASKS, "maximize"), budget=2, trainings=14)
    study.run(train)
    return study


def answer(study: Study, jobs: list[Job]) -> None:
    for job in jobs:
        study.tell(job.id, train(job.names, job.seed))


def test_a_function_audits_on_fresh_seeds_and_apart(tmp_path: Path) -> None:
    study = decided_study(tmp_path / "ranker")
    before = study.status()
    audit = study.audit(train, replicates=3)
    assert audit.overall.verdict == "beneficial"
    assert audit.gains.by_task() == pytest.approx({"a": 0.05, "b": 0.05, "c": 0}, abs=0.01)
    assert audit.problem == "ranker"
    assert audit.context.race
    after = study.status()
    assert (after.done, after.left) == (before.done, before.left)
    assert after.judged == after.judging > 0
    frame = study.frame()
    seeds = {purpose: set(rows["seed"]) for purpose, rows in frame.groupby("purpose")}
    assert not seeds["decide"] & seeds["judge"]
    assert len(seeds["judge"]) == 3
    page = affinity.write_report(audit, tmp_path / "report.html").read_text()
    assert "of test scores" in page


def test_the_same_call_trains_nothing_again(tmp_path: Path) -> None:
    study = decided_study(tmp_path)
    first = study.audit(train, replicates=2)
    judged = study.status().judged

    def forbidden(tasks: tuple[str, ...], seed: int) -> None:
        raise AssertionError((tasks, seed))

    again = Study(tmp_path).audit(forbidden, replicates=2)
    assert again.gains.by_task() == first.gains.by_task()
    assert study.status().judged == judged
    more = study.audit(train, replicates=4)
    assert more.context.seeds[:2] == first.context.seeds
    assert more.gains.n_replicates == 4
    assert not again.context.limits
    (limit,) = more.context.limits
    assert limit.code == "repeated-look"
    assert "up to 10 % instead of 5 %" in limit.message
    assert [limit.code for limit in study.audit(train, replicates=4).context.limits] == [limit.code]


def test_an_audit_by_ask_and_tell(tmp_path: Path) -> None:
    study = decided_study(tmp_path)
    plan = study.plan()
    with raises("audit-unfinished"):
        study.audit(replicates=3)
    jobs = study.ask(4)
    assert {job.purpose for job in jobs} == {"judge"}
    answer(study, jobs)
    with raises("audit-unfinished"):
        study.audit(replicates=4)  # nobody has seen a result yet: no repeated look
    answer(study, [job for job in study.ask(1000) if job.purpose == "judge"])
    audit = study.audit(replicates=4)
    assert audit.plan == plan
    assert audit.gains.by_task() == study.audit(train, replicates=4).gains.by_task()
    assert not audit.context.limits


def test_a_stopped_audit_goes_on(tmp_path: Path) -> None:
    study = decided_study(tmp_path)
    calls: list[tuple[tuple[str, ...], int]] = []

    def stopping(tasks: tuple[str, ...], seed: int) -> Scores:
        if len(calls) == 5:
            raise KeyboardInterrupt
        calls.append((tasks, seed))
        return train(tasks, seed)

    with pytest.raises(KeyboardInterrupt):
        study.audit(stopping, replicates=2)
    assert study.status().judged == 5
    assert study.status().done == 14 - study.status().left
    rest: list[tuple[tuple[str, ...], int]] = []

    def counting(tasks: tuple[str, ...], seed: int) -> Scores:
        rest.append((tasks, seed))
        return train(tasks, seed)

    Study(tmp_path).audit(counting, replicates=2)
    assert not set(calls) & set(rest)
    assert len(calls) + len(rest) == study.status().judging


def test_a_failure_is_tried_again_once_and_then_missing(tmp_path: Path) -> None:
    study = decided_study(tmp_path)
    calls: list[tuple[tuple[str, ...], int]] = []

    def failing(tasks: tuple[str, ...], seed: int) -> Scores:
        calls.append((tasks, seed))
        if tasks == ("a", "b") and seed == 1_000_001:
            raise RuntimeError("no space left")
        return train(tasks, seed)

    audit = study.audit(failing, replicates=4)
    assert calls.count((("a", "b"), 1_000_001)) == 2
    assert audit.gains.n_replicates == 3
    (limit,) = audit.context.limits
    assert (limit.code, "no space left" in limit.message) == ("failed-training", True)


def test_another_plan_gets_other_seeds(tmp_path: Path) -> None:
    study = decided_study(tmp_path)
    first = study.audit(train, replicates=2)
    other = study.audit(train, replicates=2, plan=Plan.all_in_one(TASKS))
    assert other.overall.gain < 0
    assert not set(first.context.seeds) & set(other.context.seeds)


@pytest.mark.slow
def test_audits_run_in_processes(tmp_path: Path) -> None:
    audit = decided_study(tmp_path).audit(train, replicates=2, workers=2)
    assert audit.gains.n_replicates == 2


def test_there_has_to_be_something_to_audit(tmp_path: Path) -> None:
    study = Study(tmp_path, dict.fromkeys(TASKS, "maximize"), budget=2, trainings=8)
    with raises("no-results"):
        study.audit(train)
    with raises("no-replicates"):
        study.audit(train, replicates=0)
