"""`affinity audit`, as a person meets it."""

import json

import pandas as pd
import pytest
import yaml

from affinity import AffinityMatrix, DivergenceError, Plan, Trace
from affinity.estimates import NEED_HELD_OUT

QUICK = ["--epochs", "3", "--replicates", "2", "--measure-every", "2", "--width", "8"]
LEAN = [*QUICK, "--baselines", "minimal", "--no-reference"]
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
    for shown in ("regression", "binary", "3 classes", "192", "report.html"):
        assert shown in said


def test_the_same_command_goes_on_and_another_is_refused(call, csv, tmp_path):
    out = tmp_path / "run"
    arguments = ["audit", csv, *TARGETS, *QUICK, "--out", out]
    assert call(*arguments)[0] == 0
    first = (out / "audit.json").read_text()
    again = call(*arguments)
    assert again.exit_code == 0
    assert again.skipped == ["record", "estimate", "group", "retrain", "report"]
    assert json.loads((out / "audit.json").read_text())["tasks"] == json.loads(first)["tasks"]
    other = call(*arguments, "--baselines", "minimal")  # a later stage's: the run is the same
    assert other.exit_code == 0
    assert other.skipped == ["record", "estimate", "group"]
    refused = call(*arguments, "--seed", "5")
    assert refused.exit_code == 2
    assert refused.error == "another-run"
    assert "seed: 0 in the folder, 5 now" in refused.words


@pytest.mark.slow
def test_without_a_folder_each_run_gets_its_own(call, csv, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for seed in ("0", "0", "1"):
        assert call("audit", csv, *TARGETS, *LEAN, "--seed", seed)[0] == 0
    assert sorted(folder.name for folder in (tmp_path / "runs").iterdir()) == ["table", "table-2"]


def test_a_file_holds_options_and_flags_win(call, csv, tmp_path):
    config = {
        "source": str(csv),
        "targets": ["sum", "sign, of y"],
        "kinds": {"sum": "regression"},
        "epochs": 2,
        "replicates": 2,
        "measure_every": 1,
        "learning-rate": 0.01,
        "baselines": "minimal",
        "reference": False,
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    out = tmp_path / "run"
    code, said = call(
        "audit", "--config", tmp_path / "config.yaml", "--measure-every", "2", "--out", out
    )
    assert code == 0, said
    settings = json.loads((out / "run.json").read_text())["settings"]
    assert settings["kinds"] == {"sum": "regression"}
    assert (settings["epochs"], settings["measure_every"], settings["learning_rate"]) == (
        2,
        2,
        0.01,
    )


@pytest.mark.parametrize("estimator", sorted(NEED_HELD_OUT))
def test_estimators_that_need_held_out_batches_get_them(call, csv, tmp_path, estimator):
    arguments = ["audit", csv, *TARGETS, *LEAN, "--estimator", estimator, "--quiet"]
    assert call(*arguments, "--out", tmp_path / "run") == (0, "")
    matrix = AffinityMatrix.from_frame(pd.read_csv(tmp_path / "run" / "affinity.csv"))
    assert matrix.values.isfinite().any()


def test_quiet_says_nothing(call, csv, tmp_path):
    code, said = call("audit", csv, *TARGETS, *LEAN, "--quiet", "--out", tmp_path / "run")
    assert (code, said) == (0, "")


BAD = [  # None: a code of the data or of the training
    (None, ["--targets", "summ,thirds"]),
    (None, ["--target", "sum"]),
    ("budget-too-large", [*TARGETS, "--budget", "4"]),
    ("usage", [*TARGETS, "--budget", "0"]),
    ("usage", [*TARGETS, "--replicates", "0"]),
    ("unknown-estimator", [*TARGETS, "--estimator", "guess"]),
    ("usage", [*TARGETS, "--kind", "sum:regression"]),
    ("usage", [*TARGETS, "--kind", "sum=number"]),
    (None, [*TARGETS, *(f"--exclude={name}" for name in "wxyz")]),
    (None, [*TARGETS, "--learning-rate", "-1"]),
    ("usage", [*TARGETS, "--width", "0"]),
    ("usage", [*TARGETS, "--budgets", "2"]),
    ("usage", [*TARGETS, "--method", "rase"]),
    ("unreadable-file", [*TARGETS, "--config", "nowhere.yaml"]),
]


@pytest.mark.parametrize(("error", "options"), BAD)
def test_invalid_input_is_explained_without_a_traceback(call, csv, error, options, tmp_path):
    outcome = call("audit", csv, *options, "--out", tmp_path / "run")
    assert (outcome.exit_code, outcome.error) == (2, error or outcome.error), outcome.text
    assert outcome.error
    assert "Traceback" not in outcome.text
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("error", "text"),
    [
        ("unknown-option", "bugdet: 3"),
        ("invalid-option", "budget: many"),
        ("invalid-option", "exclude: [1]"),
        ("usage", "budget: 0"),
        ("invalid-config", "- budget"),
        ("invalid-config", "a: b: c"),
    ],
)
def test_a_mistake_in_a_config_is_found(call, csv, error, text, tmp_path):
    (tmp_path / "config.yaml").write_text(text)
    outcome = call("audit", csv, *TARGETS, "--config", tmp_path / "config.yaml")
    assert (outcome.exit_code, outcome.error) == (2, error), outcome.text
    if error == "unknown-option":
        assert "did you mean 'budget'?" in outcome.words


def test_a_folder_with_other_files_is_left_alone(call, csv, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("years of work")
    outcome = call("audit", csv, *TARGETS, *QUICK, "--out", tmp_path / "run")
    assert (outcome.exit_code, outcome.error) == (2, "not-a-run")
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
        "--measure-every",
        "1",
    ]
    outcome = call(*arguments, "--out", out)
    assert (outcome.exit_code, outcome.error) == (1, "diverged")
    assert "'sum'" in outcome.words
    assert "trace.partial.safetensors" in outcome.words
    assert len(Trace.load(out / "trace.partial.safetensors")) >= 1


def test_stopping_keeps_what_was_finished(call, csv, tmp_path, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("affinity.cli.stages.retrain.retrain", stop)
        stopped = call("audit", csv, *TARGETS, *LEAN, "--out", tmp_path / "run")
    assert stopped.exit_code == 130
    assert "affinity.csv, frontier.csv, plan.yaml, run.json, trace.safetensors" in stopped.words
    again = call("audit", csv, *TARGETS, *LEAN, "--out", tmp_path / "run")
    assert again.exit_code == 0
    assert again.skipped == ["record", "estimate", "group"]


def test_debug_shows_where_it_went_wrong(call, csv, tmp_path, monkeypatch):
    def diverge(*_, **__):
        raise DivergenceError("boom")

    monkeypatch.setattr("affinity.cli.stages.retrain.retrain", diverge)
    code, said = call("audit", csv, *TARGETS, *QUICK, "--out", tmp_path / "run", "--debug")
    assert code == 1
    assert "Traceback" in said
