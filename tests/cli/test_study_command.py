"""`affinity study`: any command, decided and audited in a folder."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest

from affinity import Plan
from affinity.study import Study

SCRIPT = """
import argparse, json, os, random, sys, time
parser = argparse.ArgumentParser()
parser.add_argument("--tasks", nargs="+")
parser.add_argument("--seed", type=int)
parser.add_argument("--out")
parser.add_argument("--width", type=float, default=1.0)
options, (how,) = parser.parse_known_args()
assert json.loads(os.environ["AFFINITY_TASKS"]) == options.tasks
group = set(options.tasks)
noise = random.Random(f"{options.seed} {options.tasks}").random() / 500
scores = dict.fromkeys(options.tasks, 0.7 + noise)
if len(group - {"watch"}) == 2:  # both others help each other
    scores |= {task: 0.8 + noise for task in group - {"watch"}}
if len(group) > 1 and "watch" in group:  # sharing harms it
    scores["watch"] -= 0.1 / options.width**3
if how == "changes" and options.seed >= 1_000_000:  # what helped when it was decided, harms
    scores = {task: score - 0.3 * (len(group) > 1) for task, score in scores.items()}
if how in ("works", "changes"):
    json.dump({"validation": scores, "test": scores}, open(options.out, "w"))
elif how == "text":
    open(options.out, "w").write("accuracy: 0.7")
elif how == "exits":
    sys.exit("out of memory")
elif how == "hangs":
    time.sleep(60)
"""
TASKS = ("--task", 'click > "3 s", all:maximize', "--task", "like:maximize")


@pytest.fixture
def command(tmp_path):
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)

    def of(how="works"):
        return f"{sys.executable} {script} --tasks {{tasks}} --seed {{seed}} --out {{out}} {how}"

    return of


@pytest.fixture
def folder(call, tmp_path):
    made = call(
        *("study", "create", tmp_path / "study", *TASKS, "--task", "watch:maximize"),
        *("--budget", "2", "--trainings", "16"),
    )
    assert made.exit_code == 0
    return tmp_path / "study"


def json_of(call, *arguments):
    outcome = call(*arguments, "--json")
    assert outcome.exit_code == 0
    start = min(place for sign in "[{" if (place := outcome.text.find(f"{sign}")) >= 0)
    return json.JSONDecoder().raw_decode(outcome.text[start:])[0]


def test_a_study_runs_audits_and_compares(call, folder, command, tmp_path):
    ran = call("study", "run", folder, "--command", command(), "--workers", "2")
    assert ran.exit_code == 0
    assert "Up to 16 trainings, 2 at a time" in ran.words
    status = call("study", "status", folder, "--json").json
    assert status["status"]["done"] + status["status"]["failed"] <= 16
    assert status["status"]["waiting"] == status["status"]["running"] == 0
    assert status["candidates"][0]["networks"] == [['click > "3 s", all', "like"], ["watch"]]
    assert status["units"] == dict.fromkeys(status["tasks"], "difference")

    audit = ("study", "audit", folder, "--command", command(), "--replicates", "2")
    junit = tmp_path / "audit.xml"
    outcome = call(*audit, "--fail-on", "harmful", "--junit", junit, "--quiet")
    assert (outcome.exit_code, outcome.text) == (0, "")
    result = json.loads((folder / "audit.json").read_text())
    assert {task["name"] for task in result["tasks"]} == set(status["tasks"])
    assert 'tests="3"' in junit.read_text()
    page = (folder / "report.html").read_text()
    assert call("study", "run", folder, "--command", command()).exit_code == 0
    assert (folder / "report.html").read_text() == page  # the study has a page of its own now
    assert "study" in (folder / "study.html").read_text()

    harmful = call(*audit, "--plan", "all-in-one", "--fail-on", "harmful")
    assert harmful.exit_code == 3
    assert call("compare", folder, folder, "--json").json["tasks"]

    (folder / "plan.yaml").write_text((folder / "plan.yaml").read_text() + "# mine\n")
    assert call(*audit).error == "edited-plan"


@pytest.mark.slow
def test_plan_file_headline_and_exit_code_follow_the_audits_decision(call, command, tmp_path):
    folder, tasks = tmp_path / "study", (*TASKS, "--task", "watch:maximize")
    create = ("study", "create", folder, *tasks, "--budget", "3", "--trainings", "10")
    assert call(*create).exit_code == 0
    works = ("--command", command("changes"))
    assert call("study", "run", folder, *works).exit_code == 0
    proposed = call("study", "status", folder, "--json").json["candidates"][0]["networks"]
    assert [len(network) for network in proposed] == [2, 1]
    junit = tmp_path / "audit.xml"
    audit = ("study", "audit", folder, *works, "--replicates", "2", "--fail-on", "harmful")
    outcome = call(*audit, "--junit", junit)
    assert outcome.exit_code == 0
    assert "Another candidate is advised" in outcome.words
    separate = {frozenset({task}) for network in proposed for task in network}
    plan = Plan.from_yaml(folder / "plan.yaml")
    assert {network.served for network in plan.grouping.networks} == separate
    result = json.loads((folder / "audit.json").read_text())
    assert (result["advice"], result["overall"]["verdict"]) == ("plan", "neutral")
    assert result["candidates"]["proposed"]["verdict"] == "harmful"
    assert 'failures="0"' in junit.read_text()
    status = call("study", "status", folder, "--json").json
    assert {frozenset(network) for network in status["candidates"][0]["networks"]} == separate
    assert status["audit"]["is_replaced"]
    page = (folder / "study.html").read_text()
    assert (
        json.loads(re.search(r'id="result">(.*?)</script>', page, re.S)[1])["audit"]
        == (status["audit"])
    )
    again = call(*audit)  # trains nothing, decides the same
    assert (again.exit_code, "advised: " in again.words) == (0, False)
    assert Plan.from_yaml(folder / "plan.yaml") == plan

    yaml = tmp_path / "mine.yaml"
    Study(folder).proposal().to_yaml(yaml)
    given = call(*audit, "--plan", yaml, "--junit", junit)
    assert given.exit_code == 3
    assert 'failures="0"' not in junit.read_text()
    assert Plan.from_yaml(folder / "plan.yaml") == plan


@pytest.mark.slow
def test_a_diagnosis_tries_what_the_command_has_placeholders_for(call, folder, command):
    works = ("--command", command("--width {width} works"))
    audit = ("study", "audit", folder, *works, "--plan", "all-in-one", "--replicates", "2")
    assert call(*audit).exit_code == 0
    diagnose = ("study", "diagnose", folder, *works, "--replicates", "3", "--quick")
    outcome = call(*diagnose)
    assert outcome.exit_code == 0
    diagnosis = json.loads((folder / "diagnosis.json").read_text())
    assert (diagnosis["harmed"], diagnosis["cause"]) == (["watch"], "capacity")
    assert 'id="causes"' in (folder / "report.html").read_text()
    n_trained = len(list((folder / "trainings").iterdir()))
    assert call(*diagnose).exit_code == 0
    assert len(list((folder / "trainings").iterdir())) == n_trained
    assert call(*diagnose[:3], "--command", "no-such-program").error == "unknown-program"


def test_trainings_elsewhere_are_asked_and_told(call, folder, tmp_path):
    jobs = json_of(call, "study", "ask", folder, "-n", "4")
    assert [sorted(job) for job in jobs] == [
        ["id", "purpose", "seed", "settings", "sharing", "tasks"]
    ] * 4
    assert [len(job["tasks"]) for job in jobs] == [3, 1, 1, 1]
    scores = tmp_path / "scores.json"
    for job in jobs[:2]:
        scores.write_text(json.dumps({"validation": dict.fromkeys(job["tasks"], 0.5)}))
        told = call("study", "tell", folder, job["id"], scores, "--seconds", "90")
        assert told.exit_code == 0
    assert call("study", "fail", folder, jobs[2]["id"], "out of memory").exit_code == 0
    status = call("study", "status", folder, "--json").json["status"]
    assert [status[name] for name in ("done", "failed", "running")] == [2, 1, 1]
    assert status["last_seconds"] == 90
    assert status["reasons"] == {jobs[2]["id"]: "out of memory"}
    assert call("study", "retry", folder, jobs[2]["id"]).exit_code == 0
    again = json_of(call, "study", "ask", folder)
    assert again == [jobs[2]]
    assert call("study", "audit", folder, "--replicates", "1").error == "audit-unfinished"
    assert call("study", "status", folder, "--json").json["status"]["judging"] >= 4
    assert (folder / "report.html").exists()


def test_a_diagnosis_whose_trainings_are_told(call, folder):
    quick = ("--replicates", "2", "--quick", "--settings", "width")
    study, shown = Study(folder), []
    while (outcome := call("study", "diagnose", folder, *quick)).exit_code:
        assert outcome.error == "diagnosis-unfinished"
        shown.append(call("study", "ask", folder).text.strip().split("\t"))
        status = study.status()
        for job in (study.job(shown[-1][0]), *study.ask(status.judging - status.judged - 1)):
            score = 0.7 - 0.1 * (len(job.tasks) - 1) / job.settings.get("width", 1.0)
            study.tell(job.id, dict.fromkeys(job.tasks, score + 0.001 * (job.seed % 2)))
    assert json.loads((folder / "diagnosis.json").read_text())["cause"] == "capacity"
    assert [line[3:] for line in shown] == [[], ['{"width": 2.0}']]


def test_what_cannot_be_told_is_refused(call, folder, tmp_path):
    (job,) = json_of(call, "study", "ask", folder)
    scores = tmp_path / "scores.json"
    tell = ("study", "tell", folder)
    assert call(*tell, job["id"], scores).error == "unreadable-file"
    for text, code in (
        ("", "no-scores"),
        ("0.7 and 0.8", "bad-json"),
        ('{"like": 0.7}', "missing-task"),
        (json.dumps(dict.fromkeys(job["tasks"], "high")), "not-a-number"),
        (json.dumps(dict.fromkeys(job["tasks"])).replace("null", "NaN"), "score-not-finite"),
    ):
        scores.write_text(text)
        outcome = call(*tell, job["id"], scores)
        assert (outcome.exit_code, outcome.error) == (2, code)
    assert call(*tell, "job-7", scores).error == "unknown-job"
    assert call("study", "status", folder, "--json").json["status"]["done"] == 0


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ("nothing", "no-scores"),
        ("text", "bad-json"),
        ("exits", "exit-status"),
        ("hangs", "timeout"),
    ],
)
def test_a_command_that_always_fails_stops_the_study(call, folder, command, how, code):
    before = time.monotonic()
    run = ("study", "run", folder, "--command", command(how), "--timeout", "1s", "--retries", "0")
    outcome = call(*run)
    assert (outcome.exit_code, outcome.error) == (2, "all-trainings-failed")
    assert time.monotonic() - before < 30
    frame = Study(folder).frame()
    failed = frame[frame["state"] == "failed"]
    assert failed["job"].nunique() == 3
    assert failed["error"].str.contains(str(folder)).all()  # where the output is
    with Study(folder)._ledger.reading() as contents:
        codes = {e.result.code for e in contents.entries.values() if e.state == "failed"}
    assert codes == {code}


def test_past_runs_are_added_once(call, folder, tmp_path):
    runs = tmp_path / "past.csv"
    runs.write_text("run,task,score\nx,like,0.7\nx,watch,0.6\ny,like,0.72\n")
    assert "2 runs added" in call("study", "add", folder, runs).text
    assert "0 runs added" in call("study", "add", folder, runs).text
    assert call("study", "status", folder, "--json").json["status"]["past"] == 2


@pytest.mark.parametrize("name", ["run", "ask", "status", "audit"])
def test_a_folder_without_a_study_is_named(call, tmp_path, command, name):
    extra = ("--command", command()) if name in ("run", "audit") else ()
    outcome = call("study", name, tmp_path, *extra)
    assert (outcome.exit_code, outcome.error) == (2, "no-study")


def test_settings_that_differ_or_are_invalid_are_named(call, folder, command):
    create = ("study", "create", folder, "--budget", "2", "--trainings", "16")
    other = call(*create, "--tasks", "a:maximize,b:maximize")
    assert (other.exit_code, other.error) == (2, "other-settings")
    assert call(*create, *TASKS, "--task", "watch:maximize").exit_code == 0
    for tasks in ("a,b:maximize", "a:up,b:maximize", "a:maximize,a:minimize", ":maximize"):
        assert call(*create, "--tasks", tasks).error == "usage"
    known = (*create, *TASKS, "--task", "watch:maximize")
    assert call(*known, "--unit", "w=0.1").error == "unknown-task"
    run = ("study", "run", folder, "--command")
    assert call(*run, "no-such-program").error == "unknown-program"
    assert call(*run, command(), "--timeout", "soon").error == "usage"
    assert call(*run, command(), "--gpus", "0", "--workers", "2").error == "too-few-gpus"
    assert call(*run, command(), "--trainings", "8").error == "too-few-trainings"


def test_units_and_weights_of_tasks_are_kept(call, tmp_path):
    made = call(
        *("study", "create", tmp_path, "--tasks", "auc:maximize,loss:minimize", "--budget", "1"),
        *("--trainings", "3", "--unit", "auc=0.001", "--weight", "loss=2"),
    )
    assert made.exit_code == 0
    tasks = Study(tmp_path).tasks
    assert (tasks["auc"].unit, tasks["loss"].weight) == (0.001, 2.0)


def test_ways_to_merge_are_tried_for_each_group(call, tmp_path):
    create = ("study", "create", tmp_path, *TASKS, "--budget", "2", "--trainings", "16")
    assert call(*create, "--merging", "averaged,mixed").error == "unknown-sharing"
    assert call(*create, "--merging", "averaged,added").exit_code == 0
    jobs = [job for job in Study(tmp_path).ask(30) if len(job.tasks) > 1]
    assert {job.sharing for job in jobs} == {"hard", "averaged", "added"}


SLOW = """
import json, os, sys, time
gpu = os.environ["CUDA_VISIBLE_DEVICES"]
open(os.path.join(os.path.dirname(__file__), f"{gpu}-{os.getpid()}"), "w").close()
time.sleep(60 * (len(sys.argv) > 3))
json.dump(dict.fromkeys(sys.argv[2:], 0.5), open(sys.argv[1], "w"))
"""


@pytest.mark.slow
def test_ctrl_c_ends_commands_and_keeps_finished_trainings(folder, tmp_path):
    marks = tmp_path / "commands"
    marks.mkdir()
    (marks / "train.py").write_text(SLOW)
    command = f"{sys.executable} {marks / 'train.py'} {{out}} {{tasks}}"
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "affinity", "study", "run", folder),
            *("--command", command, "--gpus", "0,1"),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # A shell that runs tests in the background has them ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    end = time.monotonic() + 90
    while len(list(marks.glob("*-*"))) < 4 and time.monotonic() < end:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    started = [mark.name.split("-") for mark in marks.glob("*-*")]
    # The first training, of all tasks, keeps its GPU; the others take turns on the second.
    on_one, on_other = sorted(Counter(gpu for gpu, _ in started).values())
    assert on_one == 1
    assert on_other >= 3
    status = Study(folder).status()
    assert status.done >= 1
    assert (status.failed, status.running, status.stale) == (0, 0, 0)
    for _, number in started:
        with pytest.raises(ProcessLookupError):
            os.kill(int(number), 0)
