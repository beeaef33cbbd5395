"""The page of a study: what it shows while trainings run, and that it is written again."""

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from example_audits import trace_of

from affinity import AffinityMatrix, Score, Study, write_report
from affinity.report import CandidatePlot, LivePage, study_page_of
from affinity.report import study_page as module
from affinity.study import StudySummary, summarize_study

HOSTILE = '<b onclick="x">&</b>'
TASKS = {"click": "maximize", HOSTILE: Score("maximize", unit=0.002), "watch": "minimize"}


def train(tasks: tuple[str, ...], seed: int) -> dict[str, float]:
    """Tasks in groups gain; more on odd seeds."""
    gain = 0.1 * (len(tasks) - 1) * (1 + 0.1 * (seed % 2))
    return {task: 1 - gain if task == "watch" else 0.5 + gain for task in tasks}


def new_study(folder: Path, **settings: Any) -> Study:
    return Study(folder, TASKS, budget=2, trainings=12, **settings)


def result_in(page: str) -> dict[str, Any]:
    text = re.search(r'<script type="application/json" id="result">(.*?)</script>', page, re.S)
    assert text
    return json.loads(text[1])


def is_reloading(page: str) -> bool:
    return 'http-equiv="refresh" content="30"' in page


def sections(page: str) -> list[str]:
    return re.findall(r'<section id="([a-z-]+)"', page)


def test_a_new_study_has_a_page(tmp_path: Path) -> None:
    page = study_page_of(new_study(tmp_path))
    assert is_reloading(page)
    assert sections(page) == ["made"]
    assert result_in(page)["candidates"] == []


@pytest.mark.usefixtures("blank_pictures")
def test_the_run_given_as_prior_is_drawn_on_the_page_of_the_audit(tmp_path: Path) -> None:
    run = trace_of(tuple(TASKS), n_measurements=8)
    new_study(tmp_path, prior=run)
    study = new_study(tmp_path, prior=[run])
    assert study.trace is not None
    assert torch.equal(study.trace.losses, run.losses)
    audit = study.audit(train, replicates=2)
    page = write_report(audit, tmp_path / "report.html", trace=study.trace).read_text("utf-8")
    estimators = [matrix["estimator"].partition("(")[0] for matrix in result_in(page)["affinity"]]
    assert estimators[0] == "InterTaskAffinity"
    assert "GradientCosine" in estimators[1:]
    assert {"affinity", "conflict"} <= set(sections(page))


def test_a_page_shows_what_is_known_and_what_runs(tmp_path: Path) -> None:
    matrix = AffinityMatrix(tuple(TASKS), torch.eye(3) + 0.1, estimator="GradientCosine")
    study = new_study(tmp_path, prior=[matrix])
    jobs = study.ask(6)
    for job in jobs[:4]:
        study.tell(job.id, train(job.names, job.seed), seconds=7200)
    study.fail(jobs[4].id, f"out of memory in {HOSTILE}")
    page = write_report(study, tmp_path / "report.html").read_text(encoding="utf-8")
    assert is_reloading(page)
    assert sections(page) == [
        *("candidates", "next", "groups", "unknown", "affinity", "failures", "made")
    ]
    assert HOSTILE not in page
    assert not re.search(r"https?://", page)
    result = result_in(page)
    assert result["status"]["done"] == 4
    assert result["status"]["failed"] == 1
    assert result["next"][0]["id"] == jobs[5].id
    assert result["next"][0]["state"] == "running"
    assert result["seconds_left"] == 7 * 7200
    assert result["unit"] == "common"
    assert result["affinity"][0]["estimator"] == "GradientCosine"
    (all_in_one,) = (group for group in result["groups"] if len(group["tasks"]) == 3)
    assert all_in_one["gains"] == pytest.approx({"click": 0.2, HOSTILE: 0.2, "watch": 0.2})


@pytest.mark.usefixtures("blank_pictures")
def test_a_finished_study_does_not_reload(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    study.run(train, workers=1)
    summary = summarize_study(study)
    assert summary.is_finished
    assert not is_reloading(study_page_of(study))
    assert summary.plan is not None
    assert summary.plan.networks == (tuple(sorted(TASKS)),)
    assert {"plan", "all-in-one"} <= set(summary.plan.names)
    frame = CandidatePlot(summary).frame()
    assert list(frame["candidate"]) == [", ".join(each.names) for each in summary.candidates]
    separate = frame[frame["candidate"] == "separate"]
    assert separate["gain"].item() == 0
    assert separate["low"].isna().all()


@pytest.mark.usefixtures("blank_pictures")
def test_an_audit_that_waits_keeps_the_page_reloading(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    study.run(train, workers=1)
    with pytest.raises(ValueError, match="audit"):
        study.audit(replicates=1)
    summary: StudySummary = summarize_study(study)
    assert not summary.is_finished
    assert {job.why for job in summary.next} == {"an audit"}


def test_a_live_page_is_written_at_start_between_and_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SHORTEST", 0.01)
    study, path = new_study(tmp_path), tmp_path / "report.html"
    with LivePage(study, path) as live:
        assert result_in(path.read_text())["status"]["done"] == 0
        (job,) = study.ask()
        study.tell(job.id, train(job.names, job.seed))
        live.update()
        deadline = time.monotonic() + 30
        while result_in(path.read_text())["status"]["done"] == 0:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        (job,) = study.ask()
        study.tell(job.id, train(job.names, job.seed))
    assert result_in(path.read_text())["status"]["done"] == 2
