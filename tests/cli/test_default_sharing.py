"""How tasks share: an audit tries other ways by default, and says which it chose and why."""

import json

import numpy as np
import pytest
import yaml

from affinity import Audit, Plan
from affinity.recommendation import MeasuredSharing

ARGUMENTS = [
    *("--target", "sum", "--target", "sign, of y", "--target", "thirds"),
    *("--epochs", "3", "--measure-every", "2", "--width", "8", "--budget", "1"),
    *("--replicates", "2", "--baselines", "minimal", "--no-reference"),
]
EVIDENCE = "measured at equal parameters"


def network_of(audit):
    (network,) = audit["networks"]
    return network


@pytest.fixture
def affordable(monkeypatch):
    """Time for soft sharing alone."""
    monkeypatch.setattr(
        "affinity.cli.stages.group.affordable_ways", lambda *_: (("soft",), {"perceiver": 60.0})
    )


@pytest.mark.slow
@pytest.mark.usefixtures("affordable")
def test_an_audit_tries_ways_to_share_unless_hard_is_given(call, csv, tmp_path):
    usual, hard = tmp_path / "usual", tmp_path / "hard"
    assert call("audit", csv, *ARGUMENTS, "--out", usual).exit_code == 0
    assert call("audit", csv, *ARGUMENTS, "--sharing", "hard", "--out", hard).exit_code == 0
    plans = [Plan.from_yaml(run / "plan.yaml") for run in (usual, hard)]
    assert plans[0].grouping == plans[1].grouping
    assert plans[1].sharing == ("hard",)
    evidence = [plan.provenance.sharing_evidence == EVIDENCE for plan in plans]
    assert evidence == [True, False]


@pytest.mark.usefixtures("affordable")
def test_the_choice_and_its_reason_are_in_every_output(call, csv, tmp_path, monkeypatch):
    def measure(_, grouping, **__):
        (network,) = grouping.networks
        gains = np.array([-0.1, 0.2])
        soft = MeasuredSharing("soft", gains, gains, None, {"strength": 1.0})
        return {network.trained: (MeasuredSharing("hard", np.zeros(2), np.zeros(2)), soft)}

    monkeypatch.setattr("affinity.cli.stages.group.measure_sharing", measure)
    monkeypatch.setattr(Audit, "decide", lambda audit: audit)
    run = tmp_path / "run"
    said = call("audit", csv, *ARGUMENTS, "--out", run)
    plan = Plan.from_yaml(run / "plan.yaml")
    assert (plan.sharing, plan.provenance.sharing_evidence) == (("hard",), EVIDENCE)
    network = network_of(json.loads((run / "audit.json").read_text()))
    assert network["sharing"] == "hard"
    for text in (said.words, plan.reasons[0], network["reason"], (run / "report.html").read_text()):
        assert "soft is not distinguishable from it" in text
        assert "perceiver (1:00 min)" in text  # not tried, and why


def test_hard_sharing_is_assumed_where_there_is_no_time(call, csv, tmp_path):
    run = tmp_path / "run"
    said = call("audit", csv, *ARGUMENTS, "--out", run)
    written = yaml.safe_load((run / "plan.yaml").read_text())
    network = network_of(json.loads((run / "audit.json").read_text()))
    if network["reason"]:  # the plan, not all-in-one, which the audit knows anyway
        assert written["provenance"]["sharing_evidence"] == "assumed, not measured"
        assert "--sharing auto" in network["reason"]
    assert "Hard sharing is assumed. Not tried" in said.words


@pytest.mark.slow
def test_relationship_networks_and_perceivers_are_named_in_a_file_and_shown(call, csv, tmp_path):
    config, run = tmp_path / "config.yaml", tmp_path / "run"
    config.write_text("sharing: perceiver\nsharing_settings: {n_latents: 2}\nplan: all-in-one\n")
    assert call("audit", csv, *ARGUMENTS, "--config", config, "--out", run).exit_code == 0
    network = network_of(json.loads((run / "audit.json").read_text()))
    assert (network["sharing"], network["settings"]) == ("perceiver", {"n_latents": 2})
    assert "Perceiver IO" in (run / "report.html").read_text()
    mine = tmp_path / "mine.yaml"
    mine.write_text(
        "version: 1\nnetworks:\n- serves: [sum, thirds]\n  sharing: relationship\n"
        "  settings: {strength: 0.2}\n- serves: ['sign, of y']\n  sharing: separate\n"
    )
    assert call("audit", csv, *ARGUMENTS, "--plan", mine, "--out", tmp_path / "b").exit_code == 0
    networks = json.loads((tmp_path / "b/audit.json").read_text())["networks"]
    assert [each["sharing"] for each in networks] == ["relationship", "separate"]
    assert "relationship network" in (tmp_path / "b/report.html").read_text()
