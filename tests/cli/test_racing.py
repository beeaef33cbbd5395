"""The race from the command line: what it leaves, and when it is not run."""

import json

import pandas as pd
import pytest

from affinity.cli.opening import options_of
from affinity.cli.racing import fits
from affinity.cli.run_directory import RunDirectory
from affinity.recommendation import Plan


@pytest.fixture
def raced(call, run):
    code, said = call("group", run, "--verify", "race", "--race-minutes", "0.01")
    assert code == 0
    return run, said


def test_a_race_leaves_its_candidates_and_a_plan_with_measured_reasons(raced):
    run, said = raced
    candidates = pd.read_csv(run / "race.csv")
    assert list(candidates["candidate"][:4]) == [
        "plan",
        "within the budget",
        "separate",
        "all-in-one",
    ]
    plan = Plan.from_yaml(run / "plan.yaml")
    assert plan.provenance.evidence.startswith("measured: a race of")
    assert "may be best" in said
    assert "trainings" in said


def test_a_race_is_not_run_again(call, raced):
    run, _ = raced
    code, said = call("group", run, "--verify", "race", "--race-minutes", "0.01")
    assert code == 0
    assert "nothing that it was made from changed" in said


def test_the_audit_of_a_raced_plan_shows_the_race(call, raced):
    run, _ = raced
    code, said = call("retrain", run, "--replicates", "2", "--baselines", "few", "--json")
    assert code == 0
    audit = json.loads(said[said.index("{\n") : said.rindex("}") + 1])
    assert audit["context"]["race"][0]["name"] == "plan"
    assert call("report", run)[0] == 0
    assert 'id="race"' in (run / "report.html").read_text()


def test_a_plan_that_was_edited_after_the_race_is_not_said_to_have_won_it(call, raced):
    run, _ = raced
    winner = Plan.from_yaml(run / "plan.yaml").grouping
    other = "separate" if len(winner.networks) == 1 else "all-in-one"
    code, _ = call("retrain", run, "--plan", other, "--replicates", "1", "--quiet")
    assert code == 0
    assert json.loads((run / "audit.json").read_text())["context"]["race"] == []


def test_overlap_and_a_race_do_not_go_together(call, run):
    code, said = call("group", run, "--verify", "race", "--overlap")
    assert code == 2
    assert "disjoint groups" in said


def test_a_race_of_no_time_is_refused(call, run):
    code, said = call("group", run, "--verify", "race", "--race-minutes", "0")
    assert code == 2
    assert "above 0" in said


def test_what_counts_as_equal_is_the_users_to_say(call, run):
    quarter = ("--tolerance", "0.25")
    code, said = call("group", run, "--verify", "race", "--race-minutes", "0.01", *quarter)
    assert code == 0
    assert "within 25%" in said  # the race cannot tell its plan from the safe choices
    retrain = ("retrain", run, "--replicates", "2", "--baselines", "few")
    code, said = call(*retrain, *quarter)
    assert code == 0
    assert "within 25% of the best mean gain" in " ".join(said.split())
    assert "nothing that it was made from changed" in call(*retrain, *quarter)[1]
    code, said = call(*retrain, "--tolerance", "0.001")
    assert "within 0.1% of the best mean gain" in " ".join(said.split())


@pytest.mark.parametrize("tolerance", ["0", "1", "nan"])
def test_a_tolerance_that_is_none_is_refused(call, run, tolerance):
    code, said = call("group", run, "--tolerance", tolerance)
    assert code == 2
    assert "tolerance between 0 and 1" in said


def test_a_race_that_takes_too_long_is_left_out(run, monkeypatch):
    monkeypatch.setattr("affinity.cli.racing.MOST_TASKS", 20)
    options = options_of(RunDirectory(run))
    problem = options.problem()
    assert fits(problem, options, recording_seconds=1.0)
    assert not fits(problem, options, recording_seconds=1000.0)


def test_where_no_race_fits_a_linearized_network_foretells_every_group(call, run, monkeypatch):
    monkeypatch.setattr("affinity.cli.stages.group.LISTED", 9)
    code, said = call("group", run, "--race-minutes", "0.5")
    assert code == 0
    assert "what a linearized network foretells" in said
    plan = Plan.from_yaml(run / "plan.yaml")
    assert plan.provenance.evidence == "predicted from one run, not measured"
    assert any("redicted to gain" in reason for reason in plan.reasons)
    code, said = call("group", run, "--race-minutes", "0.5")
    assert "nothing that it was made from changed" in said


def test_more_tasks_than_can_be_foretold_are_grouped_by_affinity(call, run, monkeypatch):
    monkeypatch.setattr("affinity.cli.stages.group.LISTED", 2)
    code, said = call("group", run, "--verify", "surrogate")
    assert code == 2
    assert "at most 2 tasks" in said
    code, said = call("group", run, "--budget", "3")
    assert code == 0
    assert "affinity alone" in said
