"""`affinity audit`, as a person meets it."""

import json

import pandas as pd
import pytest
import typer
import yaml
from rich.text import Text

from affinity import AffinityMatrix, DivergenceError, Plan, Trace
from affinity.cli.main import app
from affinity.estimates import NEED_HELD_OUT

QUICK = ["--epochs", "3", "--replicates", "2", "--every", "2", "--width", "8"]
TARGETS = ["--target", "sum", "--target", "sign, of y", "--target", "thirds"]


def test_an_audit_leaves_its_files(call, csv, tmp_path):
    out = tmp_path / "run"
    code, said = call("audit", csv, *TARGETS, *QUICK, "--budget", "2", "--out", out)
    assert code == 0, said
    files = {file.name for file in out.iterdir()}
    assert files >= {
        "run.json",
        "trace.safetensors",
        "affinity.csv",
        "plan.yaml",
        "frontier.csv",
        "audit.json",
        "report.html",
    }
    tasks = ("sum", "sign, of y", "thirds")
    audit = json.loads((out / "audit.json").read_text())
    assert [task["name"] for task in audit["tasks"]] == list(tasks)
    assert {task["verdict"] for task in audit["tasks"]} <= {
        "harmful",
        "neutral",
        "beneficial",
        "undecided",
    }
    assert all(task["low"] <= task["gain"] <= task["high"] for task in audit["tasks"])
    assert len(audit["networks"]) <= 2
    assert all(network["parameters"] > 0 for network in audit["networks"])
    assert audit["context"]["recording"]["seconds"] > 0
    assert list(audit["context"]["seconds"]) == ["record", "estimate", "group"]
    assert 'id="figure-layers"' in (out / "report.html").read_text()
    assert Trace.load(out / "trace.safetensors").tasks == tasks
    assert AffinityMatrix.from_frame(pd.read_csv(out / "affinity.csv")).tasks == tasks
    assert Plan.from_yaml(out / "plan.yaml", tasks=tasks)
    for shown in ("regression", "binary", "3 classes", "192", "Advice", "report.html"):
        assert shown in said


def test_the_same_command_goes_on_and_another_is_refused(call, csv, tmp_path):
    out = tmp_path / "run"
    arguments = ["audit", csv, *TARGETS, *QUICK, "--out", out]
    assert call(*arguments)[0] == 0
    first = (out / "audit.json").read_text()
    code, said = call(*arguments)
    assert code == 0
    assert "recorded run is there" in said
    assert json.loads((out / "audit.json").read_text())["tasks"] == json.loads(first)["tasks"]
    assert call(*arguments, "--baselines", "few")[0] == 0  # a later stage's: the run is the same
    code, said = call(*arguments, "--seed", "5")
    assert code == 2
    assert "seed: 0 there, 5 here" in said


@pytest.mark.slow
def test_without_a_folder_each_run_gets_its_own(call, csv, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for seed in ("0", "0", "1"):
        assert call("audit", csv, *TARGETS, *QUICK, "--seed", seed)[0] == 0
    assert sorted(folder.name for folder in (tmp_path / "runs").iterdir()) == ["table", "table-2"]


def test_a_file_holds_options_and_flags_win(call, csv, tmp_path):
    config = {
        "source": str(csv),
        "targets": ["sum", "sign, of y"],
        "kinds": {"sum": "regression"},
        "epochs": 2,
        "replicates": 2,
        "every": 1,
        "learning-rate": 0.01,
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    out = tmp_path / "run"
    code, said = call("audit", "--config", tmp_path / "config.yaml", "--every", "2", "--out", out)
    assert code == 0, said
    options = json.loads((out / "run.json").read_text())["what"]["options"]
    assert (options["epochs"], options["every"], options["learning_rate"]) == (2, 2, 0.01)


@pytest.mark.parametrize("estimator", sorted(NEED_HELD_OUT))
def test_estimators_that_need_held_out_batches_get_them(call, csv, tmp_path, estimator):
    arguments = ["audit", csv, *TARGETS, *QUICK, "--estimator", estimator, "--quiet"]
    assert call(*arguments, "--out", tmp_path / "run") == (0, "")
    matrix = AffinityMatrix.from_frame(pd.read_csv(tmp_path / "run" / "affinity.csv"))
    assert matrix.values.isfinite().any()


def test_quiet_says_nothing(call, csv, tmp_path):
    code, said = call("audit", csv, *TARGETS, *QUICK, "--quiet", "--out", tmp_path / "run")
    assert (code, said) == (0, "")


BAD = {
    "did you mean 'sum'?": ["--targets", "summ,thirds"],
    "at least two targets": ["--target", "sum"],
    "budget between 1 and 3": [*TARGETS, "--budget", "4"],
    "budget of at least 1": [*TARGETS, "--budget", "0"],
    "replicates of at least 1": [*TARGETS, "--replicates", "0"],
    "one of the estimators": [*TARGETS, "--estimator", "guess"],
    "NAME=KIND": [*TARGETS, "--kind", "sum:regression"],
    "none is left": [*TARGETS, *(f"--exclude={name}" for name in "wxyz")],
    "positive, finite learning_rate": [*TARGETS, "--learning-rate", "-1"],
    "width of at least 1": [*TARGETS, "--width", "0"],
    "No such option": [*TARGETS, "--budgets", "2"],
    "no file 'nowhere.yaml'": [*TARGETS, "--config", "nowhere.yaml"],
}


@pytest.mark.parametrize("message", BAD)
def test_bad_input_is_explained_without_a_traceback(call, csv, message, tmp_path):
    code, said = call("audit", csv, *BAD[message], "--out", tmp_path / "run")
    said = " ".join(said.split())
    if message == "no file 'nowhere.yaml'":
        message = "Could not read the config 'nowhere.yaml': No such file"
    assert code == 2
    assert message in said
    assert "Traceback" not in said
    assert not (tmp_path / "run").exists()


def test_a_folder_with_other_files_is_left_alone(call, csv, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("years of work")
    code, said = call("audit", csv, *TARGETS, *QUICK, "--out", tmp_path / "run")
    assert code == 2
    assert "holds other files" in " ".join(said.split())
    assert [file.name for file in (tmp_path / "run").iterdir()] == ["thesis.tex"]


def test_a_loss_that_diverges_is_named_and_what_was_recorded_is_kept(call, csv, tmp_path):
    frame = pd.read_csv(csv)
    frame["sum"] *= 1e30
    frame.to_csv(csv, index=False)
    out = tmp_path / "run"
    arguments = [
        "audit",
        csv,
        *TARGETS,
        "--epochs",
        "30",
        "--learning-rate",
        "1e30",
        "--every",
        "1",
    ]
    code, said = call(*arguments, "--out", out)
    said = " ".join(said.split())
    assert code == 1
    assert "The loss of task" in said
    assert "at step" in said
    assert "Kept in" in said
    assert len(Trace.load(out / "trace.partial.safetensors")) >= 1


def test_stopping_keeps_what_was_finished(call, csv, tmp_path, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("affinity.cli.stages.retrain.retrain", stop)
        code, said = call("audit", csv, *TARGETS, *QUICK, "--out", tmp_path / "run")
    said = " ".join(said.split())
    assert code == 130
    assert "affinity.csv, frontier.csv, plan.yaml, run.json, trace.safetensors" in said
    code, said = call("audit", csv, *TARGETS, *QUICK, "--out", tmp_path / "run")
    assert code == 0
    assert "recorded run is there" in said


def test_debug_shows_where_it_went_wrong(call, csv, tmp_path, monkeypatch):
    def diverge(*_, **__):
        raise DivergenceError("boom")

    monkeypatch.setattr("affinity.cli.stages.retrain.retrain", diverge)
    code, said = call("audit", csv, *TARGETS, *QUICK, "--out", tmp_path / "run", "--debug")
    assert code == 1
    assert "Traceback" in said


def test_help_teaches_with_examples(call):
    code, said = call("audit", "--help")
    assert code == 0
    assert "affinity audit digits" in said


def test_help_loses_no_word_to_markup():
    def texts(command):
        for sub in getattr(command, "commands", {}).values():
            yield from texts(sub)
        yield from (option.help for option in command.params if getattr(option, "help", None))

    for text in texts(typer.main.get_command(app)):
        assert Text.from_markup(text).plain == text.replace("\\[", "["), text
