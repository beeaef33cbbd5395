"""The page: self-contained, the same every time, and safe against the names of tasks."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import jsonschema
import pytest
from example_audits import HOSTILE, a_diagnosis, a_race, an_audit, names, trace_of, with_gates

from affinity.audit import Audit, RepeatedHoldout
from affinity.errors import InputError
from affinity.recording import Cost
from affinity.report import page_of, schema, write_report
from affinity.report.alerts import find_alerts


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


def test_the_report_is_written_where_it_was_asked_for(tmp_path: Path) -> None:
    path = write_report(an_audit(3), tmp_path / "deep" / "report.html")
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="Could not write"):
        write_report(an_audit(2, n_groups=1), tmp_path / "file" / "report.html")


def test_the_same_audit_gives_the_same_page() -> None:
    assert page_of(an_audit(4)) == page_of(an_audit(4))


@pytest.mark.parametrize("audit", [an_audit(4), an_audit(45, n_groups=4)], ids=["4", "45"])
def test_a_page_holds_no_outside_address_and_no_inline_style(audit: Audit) -> None:
    page = page_of(audit)
    assert not re.search(r"https?:|//\w+\.", page)
    for tag, attributes in Elements(page).found:
        assert "style" not in attributes, tag
        assert not any(name.startswith(("on", "xmlns")) for name in attributes), tag
        for name in ("href", "src"):
            assert str(attributes.get(name, "#")).startswith(("#", "data:image/png"))


def test_every_id_of_a_page_is_its_own() -> None:
    page = page_of(an_audit(4), trace=trace_of(tuple(an_audit(4).gains.tasks)))
    ids = [attributes["id"] for _, attributes in Elements(page).found if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_hostile_names_stay_text() -> None:
    page = page_of(an_audit(HOSTILE))
    calm = page_of(an_audit(tuple(f"calm {number}" for number in range(len(HOSTILE)))))
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


def test_every_task_has_its_gain_and_verdict_in_the_table() -> None:
    audit = an_audit(5)
    page = page_of(audit)
    for task, verdict in audit.verdicts.items():
        row = re.search(rf'<tr>\s*<th scope="row" data-csv="{task}">.*?</tr>', page, re.S)
        assert row
        assert verdict.verdict in row[0]
        assert repr(verdict.gain) in row[0]


def test_an_audit_without_affinities_has_a_page_without_a_heatmap() -> None:
    with_matrix = an_audit(3)
    audit = Audit(with_matrix.problem, with_matrix.tasks, with_matrix.plan, with_matrix.candidates)
    page = page_of(audit)
    assert 'id="affinity"' not in page
    assert 'id="gains"' in page


def test_causes_and_advice_stand_after_the_gains_in_page_and_result() -> None:
    page = page_of(an_audit(3), diagnosis=a_diagnosis(HOSTILE[0]))
    assert page.index('id="gains"') < page.index('id="causes"') < page.index('id="made"')
    assert HOSTILE[0] not in page
    assert "at work" in page
    found = result_in(page)["diagnosis"]
    assert found["causes"][0]["changes"][0]["name"] == f"{HOSTILE[0]} apart"
    jsonschema.validate(result_in(page), schema())


def test_affinity_is_called_a_weak_guide_where_sharing_everything_does_little_harm() -> None:
    for harm, is_weak in ((0.0, True), (0.5, False)):
        base = an_audit()
        worse = replace(
            base.candidates["all-in-one"],
            evaluation=replace(
                base.gains, scores=base.gains.baseline * (1 + harm), baseline=base.gains.baseline
            ),
        )
        audit = replace(base, candidates={**base.candidates, "all-in-one": worse})
        titles = [alert.title for alert in find_alerts(audit)]
        assert ("Affinity is a weak guide here" in titles) == is_weak
        raced = replace(audit, context=replace(audit.context, race=a_race(names(6))))
        assert "Affinity is a weak guide here" not in [each.title for each in find_alerts(raced)]


def test_an_audit_without_a_diagnosis_has_no_causes() -> None:
    page = page_of(an_audit(3))
    assert 'id="causes"' not in page
    assert result_in(page)["diagnosis"] is None


def test_gates_costs_and_overhead_stand_on_the_page() -> None:
    cost = Cost(measurements=30, seconds=0.5, plain_seconds=2.0)
    page = page_of(with_gates(an_audit(6, recording=cost)))
    assert 'id="figure-gates-1"' in page
    assert "2,000 parameters, 1,900 multiply-adds a row" in page
    assert "30 measurements took 0.5 s, 25.0\u202f% on top of the 2 s of the run itself" in page
    plain = page_of(an_audit(6))
    assert "What the gates chose" not in plain
    assert "multiply-adds a row;" not in plain


def test_a_grouping_that_ran_under_two_names_stands_once_in_the_race() -> None:
    page = page_of(an_audit(6, race=a_race(names(6))))
    rows = page[page.index("The race for the plan") : page.index("</table>")].count("<tr>")
    assert rows == 3  # the header, and two groupings
    assert "plan, all-in-one<small>" in page


def test_many_tasks_have_a_budget_to_choose_too() -> None:
    page = page_of(an_audit(60, n_groups=6))
    assert page.count('class="choice"') == 8


def test_a_verdict_on_all_tasks_says_whether_other_draws_of_the_rows_confirm_it() -> None:
    sure = an_audit(6, effect=0.2, n_groups=1)
    assert sure.overall_of(sure.advice).verdict == "beneficial"

    def titles(*others: Audit) -> list[str]:
        holdout = RepeatedHoldout((sure, *others), 0.25) if others else None
        return [alert.title for alert in find_alerts(sure, holdout=holdout)]

    assert "Judged on one draw of the rows" in titles()
    assert not [title for title in titles(sure, sure, sure) if "draw" in title]
    others = [an_audit(6, effect=effect, n_groups=1) for effect in (-0.2, 0.05, -0.05)]
    assert "Not confirmed by other draws of the test rows: undecided" in titles(*others)
    undecided = an_audit(6, effect=0.0)
    assert "Judged on one draw of the rows" not in [a.title for a in find_alerts(undecided)]
