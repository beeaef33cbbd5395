"""The history of a study: what was known after earlier trainings, computed once."""

from itertools import pairwise
from pathlib import Path

import pytest

from affinity import Study
from affinity.report import ProbabilityPlot
from affinity.study.history import HISTORY, points_to_show

TASKS = ("a", "b", "c")


def train(tasks: tuple[str, ...], seed: int) -> dict[str, float]:
    """All tasks gain by company, c most."""
    return {
        task: 0.5 + 0.1 * (len(tasks) - 1) * (1 + (task == "c")) + 0.001 * seed for task in tasks
    }


def new_study(folder: Path, trainings: int = 9) -> Study:
    return Study(folder, dict.fromkeys(TASKS, "maximize"), budget=2, trainings=trainings)


def test_history_is_what_a_study_stopped_at_that_time_answers(tmp_path: Path) -> None:
    study = new_study(tmp_path / "whole")
    study.run(train)
    history = study.history(60.0)
    status = study.status()
    assert [answer.ended for answer in history] == list(range(1, status.done + 1))
    for stop in (4, 6):
        early = new_study(tmp_path / f"{stop}", trainings=9)
        for _ in range(stop):
            (job,) = early.ask()
            early.tell(job.id, train(job.names, job.seed))
        plan, past = early.answer().plan, history[stop - 1]
        assert past.probability("plan") == pytest.approx(plan.probability)
        assert past.candidates[0].gain == pytest.approx(plan.gain)
    assert history[0].probability("plan") is None  # nothing was measured yet
    latest = study.answer().plan
    assert history[-1].probability("plan") == pytest.approx(latest.probability)


def test_each_point_is_computed_once_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = new_study(tmp_path)
    study.run(train)
    assert len(study.history(0.0)) == 0
    whole = study.history(60.0)
    with (tmp_path / HISTORY).open("a") as file:
        file.write('{"ended": 3, "cand')  # a writer that was killed

    def forbidden(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr("affinity.study.study.current_answer", forbidden)
    assert Study(tmp_path).history(60.0) == whole


def test_order_is_that_of_results_and_failures_count(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    jobs = study.ask(4)
    for job in reversed(jobs[1:]):
        study.tell(job.id, train(job.names, job.seed))
    study.fail(jobs[0].id, "out of memory")
    history = study.history(60.0)
    assert [answer.ended for answer in history] == [1, 2, 3, 4]
    study.retry(jobs[0].id)
    assert len(study.history(60.0)) == 3
    assert new_study(tmp_path / "empty").history(60.0) == ()


def test_scores_after_a_failure_count_in_the_answer_and_in_the_history(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    first, *others = study.ask(5)
    for job in others:
        study.tell(job.id, train(job.names, job.seed))
    study.fail(first.id, "out of memory")
    before, history = study.answer(), study.history(60.0)
    study.tell(first.id, train(first.names, first.seed))
    after = Study(tmp_path).answer()
    assert after.plan.gain != before.plan.gain
    assert study.answer().plan.gain == pytest.approx(after.plan.gain)
    latest = study.history(60.0)[-1]
    assert (latest.ended, latest.failed, history[-1].failed) == (5, 0, 1)
    assert latest.candidates[0].gain == pytest.approx(after.plan.gain)


def test_points_of_a_shorter_history_stay() -> None:
    for n_ended in range(1, 300):
        points = points_to_show(n_ended)
        assert points[0] == n_ended
        assert len(points) <= 26
        earlier = set(points_to_show(n_ended - 1)) - {n_ended - 1}
        assert set(points[1:]) <= earlier | {n_ended - 1}


def test_the_plot_marks_where_the_best_grouping_changed(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    study.run(train)
    history = study.history(60.0)
    frame = ProbabilityPlot(history).frame()
    plans = [answer.candidates[0].networks for answer in history]
    changes = sum(one != other for one, other in pairwise(plans))
    assert frame["changed"].sum() == changes
    assert set(frame["candidate"]) == {"plan", "separate", "all-in-one"}
