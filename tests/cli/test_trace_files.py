"""Traces that were recorded elsewhere, in the command line and on a page."""

import json
import re

import pandas as pd
import pytest
import torch
from torch import nn

from affinity import AffinityMatrix, InterTaskAffinity, Recorder, Study, load, save

TASKS = ("depth", "edges", "<i>text</i>")


@pytest.fixture(scope="module")
def trace():
    torch.manual_seed(0)
    model = nn.ModuleDict({"trunk": nn.Linear(4, 6), **{str(i): nn.Linear(6, 1) for i in range(3)}})
    inputs = torch.randn(16, 4)

    def losses():
        shared = model["trunk"](inputs).tanh()
        return {task: model[str(i)](shared).square().mean() for i, task in enumerate(TASKS)}

    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    recorder = Recorder(model, every=1, lookahead_every=1, layers=2, optimizer=optimizer)
    for _ in range(10):
        now = losses()
        recorder.observe(now, closure=losses)
        optimizer.zero_grad()
        sum(now.values()).backward()
        optimizer.step()
    return recorder.trace()


@pytest.fixture
def file(trace, tmp_path):
    return save(trace, tmp_path / "mine.safetensors")


def test_what_was_shared_and_what_it_cost_is_kept(trace, file):
    recording = load(file).recording
    assert recording == trace.recording
    assert recording.shared == {"trunk": 30}
    assert recording.private == {"0": 7, "1": 7, "2": 7}
    assert recording.cost.measurements == 10


def test_a_trace_is_estimated_in_the_command_line(call, trace, file, tmp_path):
    matrix = InterTaskAffinity()(trace)
    outcome = call("estimate", file, "--json", "--out", tmp_path / "a.csv")
    assert outcome.exit_code == 0
    frame = pd.read_csv(tmp_path / "a.csv")
    assert torch.equal(AffinityMatrix.from_frame(frame).values, matrix.values)
    assert call("estimate", file, "--method", "etap", "--out", tmp_path / "a.safetensors")[0] == 0
    assert load(tmp_path / "a.safetensors").estimator.startswith("MomentumAffinity")


def test_without_lookahead_another_estimator_is_used_and_named(call, trace, tmp_path):
    bare = save(trace.__class__(TASKS, trace.steps, trace.losses, trace.gramians), tmp_path / "b")
    outcome = call("estimate", bare, "--out", tmp_path / "a.safetensors")
    assert outcome.exit_code == 0
    assert "gradient cosine" in outcome.text
    assert load(tmp_path / "a.safetensors").estimator.startswith("GradientCosine")
    assert "(missing-in-trace)" in call("estimate", bare, "--method", "etap").text


def test_the_page_of_a_trace(call, trace, file, tmp_path):
    assert call("report", file)[0] == 0
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    result = json.loads(re.search(r'id="result">(.*?)</script>', page, re.DOTALL)[1])
    assert [row["task"] for row in result["tasks"]] == list(TASKS)
    assert result["measurements"] == 10
    expected = InterTaskAffinity()(trace).values[0, 1].item()
    assert result["affinity"][0]["values"][0][1] == pytest.approx(expected, rel=1e-5)
    assert "<i>text</i>" not in page
    for anchor in ("affinity", "conflict", "graph-of-tasks", "tasks", "shared"):
        assert f'id="{anchor}"' in page


def test_other_files_are_refused_and_pages_of_runs_are_kept(call, trace, file, run, tmp_path):
    matrix = save(InterTaskAffinity()(trace), tmp_path / "matrix.safetensors")
    text = tmp_path / "notes.txt"
    text.write_text("not a trace")
    for arguments, code in (
        (["estimate", matrix], "no-trace"),
        (["report", matrix], "no-trace"),
        (["estimate", text], "damaged-file"),
        (["estimate", file, "--method", "guess"], "unknown-estimator"),
        (["estimate", file, "--out", tmp_path / "a.pdf"], "unknown-format"),
        (["report", file, run], "no-run"),
        (["report", run / "trace.safetensors"], "missing-out"),
        (["estimate", run, "--out", tmp_path / "a.csv"], "unused-option"),
    ):
        outcome = call(*arguments)
        assert (outcome.exit_code, f"({code})" in outcome.text) == (2, True), outcome.text


def test_a_trace_is_a_prior_of_a_study(trace, tmp_path):
    study = Study(
        tmp_path / "study", dict.fromkeys(TASKS, "minimize"), budget=2, trainings=8, prior=[trace]
    )
    assert study.ask(1)
