"""Stages: each keeps what it made, runs again only where it must, and can be stopped at."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as Xml

import jsonschema
import numpy as np
import pandas as pd
import pytest
import yaml
from filelock import FileLock

from affinity import Audit, NegativeTransferTest, Plan
from affinity.sharing import SHARINGS
from affinity.training.loop import train_one

ROOT = Path(__file__).parents[2]
RECORD = [
    *("--target", "sum", "--target", "sign, of y", "--target", "thirds"),
    *("--epochs", "3", "--measure-every", "2", "--width", "8"),
]
TASKS = ("sum", "sign, of y", "thirds")


def words(said):
    return " ".join(said.split())


def test_stages_say_what_they_wrote_and_what_is_next(call, csv, tmp_path):
    out = tmp_path / "my run"
    for arguments, written, following in (
        (["record", csv, *RECORD, "--out", out], "trace.safetensors", "affinity estimate"),
        (["estimate", out], "affinity.csv", "affinity group"),
        (["group", out, "--budget", "2"], "plan.yaml", "affinity retrain"),
        (["retrain", out, "--replicates", "2"], "audit.json", "affinity report"),
        (["report", out], "report.html", "Report:"),
    ):
        code, said = call(*arguments)
        assert code == 0, said
        assert (out / written).exists()
        assert written in words(said)
        assert following in words(said)
        if following.startswith("affinity"):
            assert f"'{out}'" in words(said)  # can be pasted, space and all


def test_a_stage_whose_inputs_did_not_change_is_not_run_again(call, retrained, monkeypatch):
    assert call("report", retrained)[0] == 0
    before = {file.name: file.stat().st_mtime_ns for file in retrained.iterdir()}

    def never(*_, **__):
        raise AssertionError("was run again")

    for function in ("record.record", "group.solve", "retrain.retrain"):
        monkeypatch.setattr(f"affinity.cli.stages.{function}", never)
    for stage in (
        ["estimate", retrained],
        ["group", retrained, "--budget", "2"],
        ["retrain", retrained, "--replicates", "2"],
        ["report", retrained],
    ):
        outcome = call(*stage)
        assert outcome.exit_code == 0, outcome.text
        assert outcome.skipped == [stage[0]]
    after = {file.name: file.stat().st_mtime_ns for file in retrained.iterdir()}
    assert before == after


def test_a_changed_option_runs_its_stage_and_those_after_it_again(call, retrained):
    first = (retrained / "audit.json").read_text()
    assert call("group", retrained, "--budget", "1")[0] == 0
    assert len(Plan.from_yaml(retrained / "plan.yaml").grouping.networks) == 1
    assert call("retrain", retrained, "--replicates", "2")[0] == 0
    audit = json.loads((retrained / "audit.json").read_text())
    assert audit != json.loads(first)
    assert (audit["context"]["budget"], len(audit["networks"])) == (1, 1)
    assert call("estimate", retrained, "--estimator", "gradient cosine")[0] == 0
    assert call("group", retrained, "--budget", "1").skipped == []


def test_a_stopped_retraining_does_only_what_is_missing(call, run, monkeypatch):
    retrain = ("retrain", run, "--plan", run / "plan.yaml", "--replicates", "2")
    assert call(*retrain)[0] == 0
    (run / "audit.json").unlink()  # as if it had been stopped
    before = {file: file.read_text() for file in (run / "trainings").iterdir()}
    lost = min(before)
    lost.unlink()
    trained = []

    def count(network, *arguments, **options):
        trained.append(network.names)
        return train_one(network, *arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr("affinity.training.ensemble.train_one", count)
        patched.setattr("affinity.training.ensemble.Stack.train", None)
        assert call(*retrain)[0] == 0
    assert len(trained) == 1
    after = {file: file.read_text() for file in (run / "trainings").iterdir()}
    assert {file for file in before if after[file] != before[file]} == {lost}
    one, other = json.loads(before[lost]), json.loads(after[lost])
    assert one["epochs"] == other["epochs"]
    for losses in ("training_loss", "validation_loss", "evaluation_loss", "test_loss"):
        assert other[losses] == pytest.approx(one[losses], rel=1e-4), losses


@pytest.mark.slow
def test_networks_are_trained_in_processes_where_asked(call, run, monkeypatch):
    monkeypatch.undo()  # what trains them in this process
    code, said = call("retrain", run, "--replicates", "2", "--backend", "loky")
    assert code == 0, said
    alone = Audit.load(run / "measurements.safetensors").gains.scores
    (run / "audit.json").unlink()
    shutil.rmtree(run / "trainings")
    assert call("retrain", run, "--replicates", "2")[0] == 0
    together = Audit.load(run / "measurements.safetensors").gains.scores
    np.testing.assert_allclose(alone, together, rtol=1e-4)
    outcome = call("retrain", run, "--replicates", "3", "--backend", "loky", "--save-models")
    assert outcome.exit_code == 2


@pytest.mark.slow
def test_stages_and_the_whole_audit_measure_the_same(call, csv, run, tmp_path):
    assert call("retrain", run, "--replicates", "2")[0] == 0
    whole = tmp_path / "whole"
    extra = ["--budget", "2", "--replicates", "2", "--sharing", "hard", "--out", whole]
    assert call("audit", csv, *RECORD, *extra)[0] == 0
    for name in ("affinity.csv", "plan.yaml"):
        assert (run / name).read_bytes() == (whole / name).read_bytes()
    tasks = [json.loads((folder / "audit.json").read_text())["tasks"] for folder in (run, whole)]
    assert tasks[0] == tasks[1]


def test_a_stored_audit_is_read_back_as_it_was(call, run):
    assert call("retrain", run, "--replicates", "3")[0] == 0
    audit = Audit.load(run / "measurements.safetensors")
    assert json.loads(audit.to_json()) == json.loads((run / "audit.json").read_text())
    assert audit.gains.n_replicates == 3


def test_an_edited_plan_is_audited_and_not_overwritten(call, run):
    plan = yaml.safe_load((run / "plan.yaml").read_text())
    plan["networks"] = [{"serves": ["sum", "thirds"]}, {"serves": ["sign, of y"]}]
    (run / "plan.yaml").write_text(yaml.safe_dump(plan))
    edited = (run / "plan.yaml").read_text()
    assert call("group", run, "--budget", "2").exit_code == 0
    assert call("group", run, "--budget", "3").error == "edited-plan"
    assert (run / "plan.yaml").read_text() == edited
    assert call("retrain", run, "--replicates", "2")[0] == 0
    networks = json.loads((run / "audit.json").read_text())["networks"]
    assert [network["serves"] for network in networks] == [["sum", "thirds"], ["sign, of y"]]


@pytest.mark.parametrize(
    "sharing",
    [
        name if name in ("separate", "mmoe") else pytest.param(name, marks=pytest.mark.slow)
        for name in SHARINGS
    ],
)
def test_the_plan_file_names_the_decision_and_can_be_trained_again(call, run, sharing):
    group = ("group", run, "--budget", "1", "--method", "affinity", "--sharing", sharing)
    assert call(*group).exit_code == 0
    retrain = ("retrain", run, "--replicates", "2", "--baselines", "minimal", "--no-reference")
    assert call(*retrain).exit_code == 0
    plan = Plan.from_yaml(run / "plan.yaml", tasks=TASKS)
    audit = Audit.load(run / "measurements.safetensors")
    assert (plan, plan.provenance) == (audit.plan, audit.plan.provenance)
    entries = yaml.safe_load((run / "plan.yaml").read_text())
    networks = json.loads((run / "audit.json").read_text())["networks"]
    for written, audited in zip(entries["networks"], networks, strict=True):
        assert written["sharing"] == audited["sharing"]
        assert written["sharing"] in SHARINGS
    if "proposed" in audit.candidates and sharing != "hard":
        assert entries["provenance"]["sharing_evidence"].startswith("as in the candidate")
    assert call(*retrain).skipped == ["retrain"]
    assert call(*retrain, "--plan", run / "plan.yaml").exit_code == 0
    again = Audit.load(run / "measurements.safetensors")
    assert again.plan == plan
    np.testing.assert_array_equal(again.gains.scores, audit.gains.scores)


def test_a_mistake_in_an_edited_plan_is_found_by_its_line(call, run):
    (run / "plan.yaml").write_text(
        "version: 1\nnetworks:\n- serves: [sum, tirds]\n- serves: ['sign, of y', sum]\n"
    )
    code, said = call("retrain", run, "--replicates", "2")
    assert code == 2
    assert "line 3: 'tirds' is not a task; did you mean 'thirds'?" in words(said)
    assert "line 4: 'sum' is served twice" in words(said)


def test_a_given_plan_shares_as_said_or_refuses_it(call, csv, tmp_path):
    more = [*RECORD, "--replicates", "2", "--baselines", "minimal", "--no-reference"]
    way = ["--sharing", "mmoe", "--sharing-setting", "n_experts=2", "--out", tmp_path / "run"]
    assert call("audit", csv, *more, "--plan", "all-in-one", *way).exit_code == 0
    (network,) = json.loads((tmp_path / "run/audit.json").read_text())["networks"]
    assert (network["sharing"], network["settings"]) == ("mmoe", {"n_experts": 2})
    way[-1] = tmp_path / "other"
    assert call("audit", csv, *more, "--plan", "separate", *way).error == "unused-option"


@pytest.mark.parametrize(("choice", "n_networks"), [("separate", 3), ("all-in-one", 1)])
def test_the_present_arrangement_can_be_audited(call, csv, choice, n_networks, tmp_path):
    out = tmp_path / "run"
    more = ["--plan", choice, "--replicates", "2", "--out", out]
    code, said = call("audit", csv, *RECORD, *more)
    assert code == 0, said
    assert len(json.loads((out / "audit.json").read_text())["networks"]) == n_networks
    assert not (out / "plan.yaml").exists()


def test_json_goes_to_standard_output_alone(call, run):
    code, said = call("retrain", run, "--replicates", "2", "--json", "--quiet")
    assert code == 0
    assert [task["name"] for task in json.loads(said)["tasks"]] == list(TASKS)
    assert {
        entry["source"] for entry in json.loads(call("estimate", run, "--json", "--quiet")[1])
    } == {*TASKS}
    assert json.loads(call("group", run, "--json", "--quiet", "--budget", "2")[1])["networks"]


def test_harm_fails_the_build_and_is_told_to_junit(call, run, tmp_path, monkeypatch):
    judge = NegativeTransferTest.__call__

    def gloomy(self, gains):
        from dataclasses import replace

        first, *others = judge(self, gains)
        return [replace(first, verdict="harmful"), *(replace(o, verdict="neutral") for o in others)]

    plain = ["retrain", run, "--replicates", "2"]
    assert call(*plain)[0] == 0
    monkeypatch.setattr(NegativeTransferTest, "__call__", gloomy)
    junit = tmp_path / "audit.xml"
    code, said = call(*plain, "--fail-on", "harmful", "--junit", junit)
    assert code == 3
    assert "sum" in said.splitlines()[-1]
    suite = Xml.parse(junit).getroot()
    assert [case.get("name") for case in suite] == list(TASKS)
    assert (suite.get("tests"), suite.get("failures")) == ("3", "1")
    assert suite[0].find("failure") is not None
    assert call(*plain)[0] == 0  # without the flag, harm is only said


@pytest.mark.slow
def test_two_runs_are_compared(call, csv, retrained, tmp_path):
    other = tmp_path / "other"
    more = ["--seed", "3", "--replicates", "2", "--out", other]
    assert call("audit", csv, *RECORD, *more)[0] == 0
    code, said = call("compare", retrained, other)
    assert code == 0
    assert "gain A" in said
    comparison = call("compare", retrained, other, "--json").json
    assert [row["name"] for row in comparison["tasks"]] == list(TASKS)
    a, b = (Audit.load(folder / "measurements.safetensors") for folder in (retrained, other))
    assert [row["gain"] for row in comparison["tasks"]] == [
        pytest.approx([a.verdicts[task].gain, b.verdicts[task].gain]) for task in TASKS
    ]
    assert -1 <= comparison["affinity_correlation"] <= 1
    code, said = call("report", retrained, other)
    assert code == 0, said
    page = (retrained / "comparison.html").read_text(encoding="utf-8")
    assert all(name in page for name in ("run", "other", *TASKS))


@pytest.mark.slow
def test_pictures_are_exported(call, retrained):
    code, said = call("report", retrained, "--png", "--svg")
    assert code == 0, said
    assert {file.suffix for file in (retrained / "figures").iterdir()} == {".png", ".svg"}


def test_audit_json_is_as_the_schema_says(call, retrained):
    code, said = call("schema")
    assert code == 0
    jsonschema.validate(json.loads((retrained / "audit.json").read_text()), json.loads(said))


def test_problems_lists_every_method(call):
    from affinity.estimates import ESTIMATORS
    from affinity.grouping import SOLVERS

    code, said = call("problems")
    assert code == 0
    assert all(name in said for name in ("digits", *ESTIMATORS, *SOLVERS))


# Bad input


def test_a_stage_without_the_one_before_says_what_to_run(call, csv, tmp_path):
    assert call("estimate", tmp_path / "nowhere").error == "no-run"
    assert call("record", csv, *RECORD, "--out", tmp_path / "run")[0] == 0
    for stage, missing in (("group", "affinity estimate"), ("report", "affinity retrain")):
        outcome = call(stage, tmp_path / "run")
        assert (outcome.exit_code, outcome.error) == (2, "missing-stage")
        assert missing in outcome.words
    assert call("retrain", tmp_path / "run").error == "no-plan"


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["truncated", "foreign", "missing"])
@pytest.mark.parametrize("name", ["trace.safetensors", "affinity.csv"])
def test_a_file_that_no_stage_wrote_is_not_read(call, csv, run, name, damage):
    file = run / name
    whole = file.read_bytes()
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(whole[: len(whole) // 2] if damage == "truncated" else b"years of work")
    stage = "estimate" if name.startswith("trace") else "group"
    outcome = call(stage, run)
    assert (outcome.exit_code, outcome.error) == (2, "changed-file")
    assert "Traceback" not in outcome.text
    again = ["audit", csv, *RECORD, "--budget", "2", "--replicates", "2", "--out", run]
    assert call(*again)[0] == 0  # the whole audit makes it again
    if name == "affinity.csv":  # a safetensors header is not byte-identical when written twice
        assert file.read_bytes() == whole


def test_a_run_of_another_version_says_how_to_make_it_again(call, run):
    body = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(
        json.dumps({**body, "schema_version": 1, "command": "affinity x"})
    )
    outcome = call("estimate", run)
    assert (outcome.exit_code, outcome.error) == (2, "other-version")
    assert "affinity x --out NEW" in outcome.words


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema_version": 3}'])
def test_a_damaged_record_is_refused(call, run, text):
    (run / "run.json").write_text(text)
    outcome = call("estimate", run)
    assert (outcome.exit_code, outcome.error) == (2, "damaged-file")


def test_data_that_changed_since_are_refused(call, csv, run):
    frame = pd.read_csv(csv)
    frame.loc[0, "w"] += 1
    frame.to_csv(csv, index=False)
    assert call("retrain", run, "--replicates", "2").error == "changed-data"
    assert call("record", csv, *RECORD, "--out", run).error == "another-run"


def test_a_second_process_is_refused(call, csv, run):
    with FileLock(run / ".lock"):
        for arguments in (["estimate", run], ["audit", csv, *RECORD, "--out", run]):
            outcome = call(*arguments)
            assert (outcome.exit_code, outcome.error) == (2, "locked-run")
    assert call("estimate", run)[0] == 0


def test_a_lock_of_a_dead_process_does_not_stay(call, run):
    code = (
        "from filelock import FileLock; import os, sys; "
        "FileLock(sys.argv[1]).acquire(); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(run / ".lock")], check=False)
    assert call("estimate", run)[0] == 0


FULL = """
import resource, sys
from affinity.cli import main
from affinity import Problem  # everything is imported before the disk is full
import affinity.cli.stages.record
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
main(sys.argv[2:])
"""


def on_a_disk_of(size, *arguments):
    command = [sys.executable, "-c", FULL, str(size), *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
    return done.returncode, words(done.stdout + done.stderr)


@pytest.mark.slow
def test_on_a_full_disk_nothing_half_written_is_read_later(call, csv, run):
    whole = (run / "trace.safetensors").stat().st_size
    (run / "trace.safetensors").unlink()
    code, said = on_a_disk_of(whole // 2, "record", csv, *RECORD, "--out", run)
    assert code == 2, said
    assert "(cannot-write)" in said
    assert not (run / "trace.safetensors").exists()
    assert not list(run.glob(".*safetensors*"))
    assert call("record", csv, *RECORD, "--out", run)[0] == 0
    assert call("estimate", run)[0] == 0


def test_a_folder_that_cannot_be_written_to_is_refused(call, csv, tmp_path):
    (tmp_path / "file").write_text("")
    outcome = call("record", csv, *RECORD, "--out", tmp_path / "file" / "run")
    assert (outcome.exit_code, outcome.error) == (2, "unwritable-folder")


def test_a_read_only_folder_is_refused(call, run, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("affinity.cli.run_directory.FileLock.acquire", refuse)
    outcome = call("estimate", run)
    assert (outcome.exit_code, outcome.error) == (2, "unwritable-folder")
    assert "Permission denied" in outcome.words


# The command itself


def environment(**more):
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return {**kept, "PYTHONDONTWRITEBYTECODE": "1", **more}


def test_help_does_not_wait_for_torch():
    code = (
        "import sys; from affinity.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n"
        "    print([m for m in ('torch', 'pandas', 'sklearn') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=environment()
    )
    assert done.stdout.splitlines()[-1] == "[]", done.stderr
    assert "Exit codes: 0 done" in words(done.stdout)


def test_colours_are_off_when_not_a_terminal():
    done = subprocess.run(
        [sys.executable, "-m", "affinity", "problems"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment(TERM="xterm-256color"),
    )
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout


def test_hostile_names_survive_every_stage(call, csv, tmp_path):
    names = {"sum": "<b>[red]\u202e&\x07", "thirds": "NA", "sign, of y": "1"}
    frame = pd.read_csv(csv).rename(columns=names)
    frame.to_csv(csv, index=False)
    targets = [part for name in names.values() for part in ("--target", name)]
    out, junit = tmp_path / "run", tmp_path / "junit.xml"
    more = [
        "--epochs",
        "3",
        "--measure-every",
        "2",
        "--replicates",
        "2",
        "--out",
        out,
        "--junit",
        junit,
    ]
    code, said = call("audit", csv, *targets, *more)
    assert code == 0, said
    for stage in ("estimate", "group"):
        assert call(stage, out)[0] == 0
    assert Plan.from_yaml(out / "plan.yaml").grouping.tasks == set(names.values())
    assert [case.get("name") for case in Xml.parse(junit).getroot()][1:] == ["NA", "1"]
    assert np.isfinite(pd.read_csv(out / "affinity.csv")["affinity"]).any()


@pytest.mark.slow
def test_a_diagnosis_is_kept_reported_and_not_repeated(call, retrained, monkeypatch):
    diagnosed = call("diagnose", retrained, "--replicates", "2", "--quick", "--json")
    assert diagnosed.exit_code == 0, diagnosed.text
    diagnosis = json.loads((retrained / "diagnosis.json").read_text())
    assert {cause["cause"] for cause in diagnosis["causes"]} == {
        *("capacity", "optimization", "data", "mismatch", "overfitting")
    }
    assert diagnosed.json == diagnosis
    assert call("report", retrained)[0] == 0
    assert 'id="causes"' in (retrained / "report.html").read_text()

    def never(*_, **__):
        raise AssertionError("was run again")

    monkeypatch.setattr("affinity.cli.stages.diagnose.diagnose", never)
    assert call("diagnose", retrained, "--replicates", "2", "--quick").skipped == ["diagnose"]


@pytest.mark.slow
def test_an_audit_can_end_with_a_diagnosis_on_the_page(call, csv, tmp_path):
    quick = ["--replicates", "2", "--baselines", "minimal", "--diagnose", "--quick"]
    outcome = call("audit", csv, *RECORD, *quick, "--out", tmp_path / "run")
    assert outcome.exit_code == 0, outcome.text
    assert 'id="causes"' in (tmp_path / "run" / "report.html").read_text()
