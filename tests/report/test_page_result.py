"""The page's result and `audit.json` are what the schema says."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from example_audits import HOSTILE, a_diagnosis, an_audit, names, trace_of, with_gates

from affinity.audit import Audit, RepeatedHoldout
from affinity.report import AuditPage, schema
from affinity.report.alerts import find_alerts

jsonschema = pytest.importorskip("jsonschema", reason="needs the package jsonschema")


def check(result: object) -> None:
    jsonschema.Draft202012Validator(schema()).validate(result)


def result_in(page: str) -> dict[str, Any]:
    match = re.search(r'<script type="application/json" id="result">(.*?)</script>', page, re.S)
    assert match
    return json.loads(match[1])


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())


@pytest.mark.parametrize(
    "audit",
    [
        an_audit(5),
        an_audit(2, n_groups=1, n_replicates=1),
        an_audit(HOSTILE),
        with_gates(an_audit(6)),
    ],
    ids=["5", "one replicate", "hostile", "gates"],
)
def test_audit_json_follows_the_schema(audit: Audit, tmp_path: Path) -> None:
    audit.to_json(tmp_path / "audit.json")
    check(json.loads((tmp_path / "audit.json").read_text(encoding="utf-8")))


@pytest.mark.usefixtures("blank_pictures")
def test_the_result_in_the_page_follows_the_schema_and_holds_all_of_audit_json() -> None:
    audit, trace = an_audit(6), trace_of(names(6))
    result = result_in(AuditPage.from_audit(audit, trace=trace).to_html())
    check(result)
    assert len(result["affinity"]) > 1
    assert [choice["budget"] for choice in result["frontier"]] == [1, 2, 3, 4, 5, 6]
    assert result["stability"] is not None
    audited = json.loads(audit.to_json())
    alerts = audited.pop("alerts")
    assert alerts
    assert {key: result[key] for key in audited} == audited
    more = [alert["code"] for alert in result["alerts"] if alert not in alerts]
    assert more == [alert.code for alert in find_alerts(audit, trace) if alert not in audit.alerts]
    assert [alert for alert in result["alerts"] if alert in alerts] == alerts
    assert "one-test-split" in more


@pytest.mark.usefixtures("blank_pictures")
def test_the_page_holds_the_other_test_splits_and_the_diagnosis() -> None:
    audits = (an_audit(4), an_audit(4, n_groups=1), an_audit(4))
    holdout = RepeatedHoldout(audits, 0.25)
    result = result_in(AuditPage.from_audit(audits[0], (), None, a_diagnosis(), holdout).to_html())
    check(result)
    assert result["holdout"] == json.loads(holdout.to_json())
    assert result["diagnosis"] == json.loads(a_diagnosis().to_json())


def test_a_result_of_other_types_is_refused() -> None:
    result = json.loads(an_audit(3).to_json())
    with pytest.raises(jsonschema.ValidationError):
        check({**result, "n_replicates": "five"})
    with pytest.raises(jsonschema.ValidationError):
        check({key: value for key, value in result.items() if key != "advice"})
