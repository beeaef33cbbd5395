"""The page: self-contained, the same every time, and safe against the names of tasks."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from codes import raises
from example_audits import HOSTILE, a_diagnosis, a_race, an_audit, names, trace_of, with_gates
from markupsafe import escape

from affinity import Plan, sharing
from affinity.audit import Audit, RepeatedHoldout
from affinity.audit.race_result import DetectableGain
from affinity.recording import RecordingCost
from affinity.report import AuditPage, audit_headline, find_alerts, write_report
from affinity.report.race_words import race_rows


class Elements(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def result_in(page: str) -> dict:
    found = re.search(r'<script type="application/json" id="result">(.*?)</script>', page, re.S)
    assert found
    return json.loads(found[1])


def to_html(audit: Audit, **parts: Any) -> str:
    return AuditPage.from_audit(audit, **parts).to_html()


@pytest.mark.usefixtures("blank_pictures")
def test_the_report_is_written_where_it_was_asked_for(tmp_path: Path) -> None:
    path = write_report(an_audit(3), tmp_path / "deep" / "report.html")
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")


@pytest.mark.usefixtures("blank_pictures")
def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with raises("cannot-write"):
        write_report(an_audit(2, n_groups=1), tmp_path / "file" / "report.html")


def test_the_same_audit_gives_the_same_page() -> None:
    assert to_html(an_audit(4)) == to_html(an_audit(4))


@pytest.mark.parametrize("audit", [an_audit(4), an_audit(45, n_groups=4)], ids=["4", "45"])
def test_a_page_holds_no_outside_address_and_no_inline_style(
    audit: Audit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("affinity.report.alternatives.LARGEST_BUDGET", 2)
    page = to_html(audit)
    assert not re.search(r"https?:|//\w+\.", page)
    for tag, attributes in Elements(page).found:
        assert "style" not in attributes, tag
        assert not any(name.startswith(("on", "xmlns")) for name in attributes), tag
        for name in ("href", "src"):
            assert str(attributes.get(name, "#")).startswith(("#", "data:image/png"))


def test_every_id_of_a_page_is_its_own() -> None:
    page = to_html(an_audit(4), trace=trace_of(tuple(an_audit(4).gains.tasks)))
    ids = [attributes["id"] for _, attributes in Elements(page).found if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_hostile_names_stay_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("affinity.report.alternatives.N_REPLICATES", 5)
    page = to_html(an_audit(HOSTILE))
    calm = to_html(an_audit(tuple(f"calm {number}" for number in range(len(HOSTILE)))))
    tags = [
        sorted(tag for tag, _ in Elements(text).found if tag not in _DRAWN) for text in (page, calm)
    ]
    assert tags[0] == tags[1]
    assert "<img" not in page
    assert [task["name"] for task in result_in(page)["tasks"]] == list(HOSTILE)


_DRAWN = {
    "path",
    "g",
    "text",
    "tspan",
    "use",
    "defs",
    "clippath",
    "rect",
    "details",
    "summary",
    "small",
}


@pytest.mark.parametrize("audit", [an_audit(5), an_audit(2, n_groups=1, n_replicates=1)])
@pytest.mark.usefixtures("blank_pictures")
def test_every_task_has_its_gain_and_verdict_in_the_table(audit: Audit) -> None:
    page = to_html(audit)
    for task, verdict in audit.verdicts.items():
        row = re.search(rf'<tr>\s*<th scope="row" data-csv="{task}">.*?</tr>', page, re.S)
        assert row
        assert verdict.verdict in row[0]
        assert repr(verdict.gain) in row[0]


@pytest.mark.usefixtures("blank_pictures")
def test_the_headline_follows_the_advice_and_its_interval() -> None:
    gains = audit_headline(an_audit(6, effect=0.2, n_groups=1))
    assert gains.is_sure
    undecided = an_audit(6, effect=0.0)
    assert not audit_headline(undecided).is_sure
    title = audit_headline(undecided).title
    assert f">{escape(title)}</h2>" in to_html(undecided)


@pytest.mark.usefixtures("blank_pictures")
def test_a_page_has_the_sections_that_it_lists_and_no_others() -> None:
    audit = with_gates(an_audit(6, race=a_race(names(6))))
    bare = an_audit(3)
    holdout = RepeatedHoldout((audit, an_audit(6)), 0.25)
    pages = [
        AuditPage.from_audit(audit, (), trace_of(names(6)), a_diagnosis(), holdout),
        AuditPage.from_audit(Audit(bare.problem, bare.tasks, bare.plan, bare.candidates)),
    ]
    assert [len(page.contents) for page in pages] == [12, 4]
    for page in pages:
        anchors = re.findall(r'<section(?: class="\w+")? id="([\w-]+)"', page.to_html())
        assert anchors == [anchor for anchor, _ in page.contents]


@pytest.mark.usefixtures("blank_pictures")
def test_alerts_and_diagnosis_are_in_the_page_and_in_its_json() -> None:
    audit = an_audit(6, n_replicates=2)
    page = to_html(audit, diagnosis=a_diagnosis(HOSTILE[0]))
    result = result_in(page)
    codes = [alert.code for alert in find_alerts(audit)]
    assert [alert["code"] for alert in result["alerts"]] == codes
    assert re.findall(r'<li data-code="([\w-]+)">', page) == codes
    assert result["diagnosis"]["causes"][0]["changes"][0]["name"] == f"{HOSTILE[0]} apart"
    assert HOSTILE[0] not in page


@pytest.mark.usefixtures("blank_pictures")
def test_the_cost_of_networks_and_of_recording_is_on_the_page() -> None:
    cost = RecordingCost(measurements=30, seconds=0.5, plain_seconds=2.0)
    page = AuditPage.from_audit(with_gates(an_audit(6, recording=cost)))
    assert page.networks[0].cost == sharing.Cost(2000, 1900)
    recording = dict(page.provenance)["Cost of recording"]
    assert "30 measurements" in recording
    assert "25.0\u202f%" in recording
    assert [figure.name for figure in page.gates] == ["gates-1"]


def test_a_grouping_with_two_names_is_one_row_of_the_race() -> None:
    rows = race_rows(a_race(names(6)))
    assert [row.names for row in rows] == ["plan, all-in-one", "separate"]
    assert rows[1].networks.count("|") == 5


@pytest.mark.usefixtures("blank_pictures")
def test_the_page_and_the_json_say_what_a_race_could_find() -> None:
    audit = an_audit(6, race=a_race(names(6)))
    detectable = (DetectableGain(48, 0.031), DetectableGain(24, 0.045), DetectableGain(48, 0.031))
    context = replace(audit.context, race_finding="not enough trainings", detectable=detectable)
    page = AuditPage.from_audit(replace(audit, context=context))
    notes = " ".join(page.race_notes)
    assert notes.index("24 trainings") < notes.index("48 trainings")
    assert notes.count("48 trainings") == 1
    assert notes in page.to_html()
    shown = json.loads(page.audit.to_json())["context"]
    assert shown["race_finding"] == "not enough trainings"
    assert shown["detectable"][0] == {"trainings": 48, "gain": 0.031}
    assert AuditPage.from_audit(audit).race_notes == []


@pytest.mark.usefixtures("blank_pictures")
def test_many_tasks_have_a_choice_of_budgets_too() -> None:
    assert len(AuditPage.from_audit(an_audit(20, n_groups=6)).choices) == 8


@pytest.mark.parametrize("result", [a_diagnosis(), Plan.separate(("a", "b")), None])
def test_a_result_that_has_no_page_is_refused(result: Any, tmp_path: Path) -> None:
    with raises("wrong-type"):
        write_report(result, tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()
