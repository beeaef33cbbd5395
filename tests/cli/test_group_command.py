"""`affinity group`: by a race, by predicted gains, or by affinity."""

import json
from dataclasses import replace

import pandas as pd
import pytest
from rich.console import Console

from affinity import AffinityMatrix, solve
from affinity.cli.run import resume_run
from affinity.cli.stages.group import race_trainings
from affinity.recommendation import Plan

RACE = ("--method", "race", "--race-minutes", "0.01")


@pytest.fixture
def raced(call, run):
    assert call("group", run, *RACE).exit_code == 0
    return run


def test_a_race_leaves_its_candidates_and_a_plan_with_measured_reasons(raced):
    candidates = pd.read_csv(raced / "race.csv")
    names = ["plan", "within the budget", "separate", "all-in-one"]
    assert list(candidates["candidate"][:4]) == names
    plan = Plan.from_yaml(raced / "plan.yaml")
    assert plan.provenance.evidence.startswith("measured: a race of")


def test_a_race_is_not_run_again(call, raced):
    assert call("group", raced, *RACE).skipped == ["group"]


@pytest.mark.slow
def test_the_audit_of_a_raced_plan_shows_the_race(call, raced):
    outcome = call("retrain", raced, "--replicates", "2", "--baselines", "minimal", "--json")
    assert outcome.exit_code == 0
    candidates = pd.read_csv(raced / "race.csv")
    race = outcome.json["context"]["race"]
    assert [candidate["name"] for candidate in race] == list(candidates["candidate"])
    assert call("report", raced).exit_code == 0
    assert 'id="race"' in (raced / "report.html").read_text()


def test_another_plan_than_the_winner_does_not_show_the_race(call, raced):
    winner = Plan.from_yaml(raced / "plan.yaml").grouping
    other = "separate" if len(winner.networks) == 1 else "all-in-one"
    assert call("retrain", raced, "--plan", other, "--replicates", "1", "--quiet").exit_code == 0
    assert not json.loads((raced / "audit.json").read_text())["context"]["race"]


@pytest.mark.parametrize(
    ("error", "options"),
    [
        ("overlap-in-race", ["--method", "race", "--overlap"]),
        ("usage", ["--method", "race", "--race-minutes", "0"]),
        ("usage", ["--tolerance", "0"]),
        ("usage", ["--tolerance", "1"]),
        ("usage", ["--tolerance", "nan"]),
        ("too-many-tasks", ["--method", "surrogate"]),
    ],
)
def test_settings_that_do_not_fit_are_refused(call, run, error, options, monkeypatch):
    monkeypatch.setattr("affinity.cli.run.LISTED", 0)
    outcome = call("group", run, *options)
    assert (outcome.exit_code, outcome.error) == (2, error)


def test_the_tolerance_decides_what_counts_as_equal(call, run):
    quarter = ("--tolerance", "0.25")
    grouped = call("group", run, *RACE, *quarter)
    assert grouped.exit_code == 0
    assert "within 25 %" in grouped.words  # the race cannot tell its plan from the safe choices
    retrain = ("retrain", run, "--replicates", "2", "--baselines", "minimal")
    audited = call(*retrain, *quarter)
    assert audited.exit_code == 0
    assert (
        json.loads((run / "run.json").read_text())["stages"]["retrain"]["inputs"]["tolerance"]
        == 0.25
    )
    assert call(*retrain, *quarter).skipped == ["retrain"]
    assert call(*retrain, "--tolerance", "0.001").skipped == []


def test_the_length_of_a_race_follows_from_counted_work(run):
    with resume_run(run, Console(quiet=True)) as opened:
        allowed = race_trainings(opened)
        opened.settings = replace(opened.settings, race_minutes=6.0)
        assert race_trainings(opened) == pytest.approx(2 * allowed, abs=1)
        problem = opened.problem
        opened.problem = replace(problem, settings=replace(problem.settings, batch_size=10**6))
        assert race_trainings(opened) < allowed


def test_where_no_race_fits_the_gains_of_all_groups_are_predicted(call, run, monkeypatch):
    monkeypatch.setattr("affinity.cli.stages.group.LISTED", 9)
    grouped = call("group", run, "--race-minutes", "0.5")
    assert grouped.exit_code == 0
    assert "--method surrogate" in grouped.words
    assert "not measured" in Plan.from_yaml(run / "plan.yaml").provenance.evidence
    assert call("group", run, "--race-minutes", "0.5").skipped == ["group"]


def test_many_tasks_are_grouped_by_affinity(call, run):
    grouped = call("group", run, "--budget", "3")
    assert grouped.exit_code == 0
    assert "--method affinity" in grouped.words


def test_the_way_to_share_can_be_measured(call, run):
    grouped = call("group", run, "--budget", "1", "--sharing", "auto")
    assert grouped.exit_code == 0, grouped.text
    measured = "measured at equal parameters"
    assert Plan.from_yaml(run / "plan.yaml").provenance.sharing_evidence == measured
    assert call("group", run, "--budget", "1", "--sharing", "hard").exit_code == 0
    assert Plan.from_yaml(run / "plan.yaml").provenance.sharing_evidence != measured


def test_settings_of_a_way_to_share_enter_the_plan(call, run):
    group = ("group", run, "--budget", "1", "--sharing", "conditioning")
    assert call(*group, "--sharing-setting", "conditioning=input").exit_code == 0
    plan = Plan.from_yaml(run / "plan.yaml")
    assert plan.settings == ({"conditioning": "input"},)
    retrain = ("retrain", run, "--replicates", "2", "--baselines", "minimal", "--no-reference")
    assert call(*retrain).exit_code == 0
    experts = ("--sharing", "mmoe", "--sharing-setting", "n_experts=3")
    assert call("group", run, "--budget", "1", *experts).exit_code == 0
    assert Plan.from_yaml(run / "plan.yaml").settings == ({"n_experts": 3},)
    for wrong in ("depth=3", "conditioning=loud"):
        assert call(*group, "--sharing-setting", wrong).exit_code == 2
    for sharing in ("hard", "auto"):
        refused = call("group", run, "--sharing", sharing, "--sharing-setting", "strength=1")
        assert (refused.exit_code, refused.error) == (2, "unknown-setting")


def test_the_frontier_has_the_best_grouping_for_every_budget(run):
    rows = pd.read_csv(run / "frontier.csv")
    assert rows["budget"].tolist() == [1, 2, 3]
    assert rows["score"].is_monotonic_increasing
    assert rows["proven_best"].all()
    for budget, serves in zip(rows["budget"], map(json.loads, rows["serves"]), strict=True):
        assert len(serves) <= budget
        assert sorted(task for tasks in serves for task in tasks) == sorted(
            ("sum", "sign, of y", "thirds")
        )
    matrix = AffinityMatrix.from_frame(pd.read_csv(run / "affinity.csv"))
    assert rows["score"][1] == pytest.approx(solve(matrix, 2).score)
