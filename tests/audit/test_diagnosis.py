"""A diagnosis orders causes by what they recover per cost, and says no more than was shown."""

import json
from dataclasses import replace

import jsonschema
import pytest
from made_up_diagnoses import change_of, diagnosis_of

from affinity.audit import DiagnosisSummary
from affinity.audit.causes import CauseResult
from affinity.storage import json_schema


def test_causes_at_work_come_first_and_then_what_recovers_most_per_cost() -> None:
    wide = CauseResult("capacity", changes=(change_of("wide", 0.45, cost=4.0),))
    weights = CauseResult("optimization", changes=(change_of("weights", 0.3),))
    left = change_of("left", 0.0, is_remedy=False)
    apart = CauseResult("mismatch", changes=(left, change_of("apart", 0.5, 9.0, decides=False)))
    found = diagnosis_of(wide, apart, weights)
    assert [each.cause for each in found.ranked()] == ["optimization", "capacity", "mismatch"]
    assert [found.status(each) for each in found.ranked()] == ["at work", "at work", "ruled out"]
    assert found.cause == "optimization"
    assert [remedy.change.name for remedy in found.remedies] == ["weights", "wide"]


def test_the_remedy_is_the_cheapest_that_does_about_as_well_as_the_best() -> None:
    widths = (change_of("x2", 0.2, 2.0), change_of("x4", 0.44, 4.0), change_of("x8", 0.5, 8.0))
    found = diagnosis_of(finding := CauseResult("capacity", changes=widths))
    remedy = found.remedy(finding)
    assert remedy is not None
    assert remedy.name == "x4"


def test_what_recovers_as_much_for_less_is_told_whatever_the_cause() -> None:
    wide = CauseResult("capacity", changes=(change_of("wide", 0.45, cost=4.0),))
    left = change_of("left", 0.0, is_remedy=False)
    planned = change_of("planned", 0.42, cost=2.0, decides=False)
    found = diagnosis_of(wide, CauseResult("mismatch", changes=(left, planned)))
    assert found.cause == "capacity"
    assert [(remedy.cause, remedy.change.name) for remedy in found.remedies] == [
        ("capacity", "wide"),
        (None, "planned"),
    ]


def test_a_cause_of_less_than_a_tenth_of_the_harm_is_not_at_work() -> None:
    found = diagnosis_of(finding := CauseResult("data", changes=(change_of("rows", 0.04),)))
    assert found.status(finding) == "ruled out"
    assert found.cause is None
    assert found.remedies == []


def test_a_harm_that_test_rows_do_not_confirm_is_told_and_not_acted_on() -> None:
    found = diagnosis_of(CauseResult("capacity", changes=(change_of("wide", 0.4),)))
    unconfirmed = replace(found, test_harm=found.test_harm - 0.6)
    assert not unconfirmed.is_confirmed
    assert unconfirmed.cause is None
    assert unconfirmed.remedies == []


def test_where_all_together_are_harmed_changes_are_judged_on_all() -> None:
    found = diagnosis_of(CauseResult("capacity", changes=(change_of("wide", 0.4),)))
    together = replace(found, harmed=("a",), together=True)
    assert together.concerned == [0, 1, 2]
    assert replace(together, together=False).concerned == [0]
    assert replace(together, harmed=()).cause == "capacity"
    assert together.harm("test").mean() == pytest.approx(0.497, abs=1e-3)


def test_without_harm_there_is_no_cause_but_what_improves_is_told() -> None:
    found = diagnosis_of(CauseResult("data", changes=(change_of("more", 0.2),)), harm=0.0)
    assert found.cause is None
    assert not found.shows_harm
    assert len(found.remedies) == 1


@pytest.mark.parametrize("harm", [0.5, 0.0])
def test_what_is_written_follows_the_schema(harm: float, tmp_path) -> None:
    left = change_of("left", 0.0, decides=True, is_remedy=False)
    findings = (
        CauseResult("mismatch", ("seen",), (left,)),
        CauseResult("capacity", skipped=("why",)),
    )
    diagnosis_of(*findings, harm=harm).to_json(tmp_path / "diagnosis.json")
    written = json.loads((tmp_path / "diagnosis.json").read_text(encoding="utf-8"))
    jsonschema.validate(written, json_schema(DiagnosisSummary))
    assert [each["status"] for each in written["causes"]] == ["ruled out", "not tested"]
    assert written["causes"][0]["changes"][0]["verdict"] == "neutral"


def test_a_notebook_shows_a_row_a_change() -> None:
    found = diagnosis_of(CauseResult("data", changes=(change_of("a & b", 0.2),)))
    assert "a &amp; b" in found._repr_html_()
    assert found.frame()["verdict"].tolist() == ["beneficial"]
