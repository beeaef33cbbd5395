"""The page's result and `audit.json` are what the schema says."""

import json
import re
from pathlib import Path

import pytest
from example_audits import HOSTILE, an_audit, names, trace_of, with_gates

from affinity.audit import Audit, RepeatedHoldout
from affinity.report import page_of, schema

jsonschema = pytest.importorskip("jsonschema", reason="needs the package jsonschema")


def check(result: object) -> None:
    jsonschema.Draft202012Validator(schema()).validate(result)


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


def test_the_result_in_the_page_follows_the_schema_and_holds_all_of_audit_json() -> None:
    audit = an_audit(6)
    page = page_of(audit, trace=trace_of(names(6)))
    found = re.search(r'<script type="application/json" id="result">(.*?)</script>', page, re.S)
    assert found
    result = json.loads(found[1])
    check(result)
    assert len(result["affinity"]) > 1
    assert [choice["budget"] for choice in result["frontier"]] == [1, 2, 3, 4, 5, 6]
    assert result["stability"] is not None
    audited = json.loads(audit.to_json())
    assert {key: result[key] for key in audited} == audited


def test_the_page_tells_of_other_draws_of_the_test_rows() -> None:
    audits = (an_audit(4), an_audit(4, n_groups=1), an_audit(4))
    holdout = RepeatedHoldout(audits, 0.25)
    page = page_of(audits[0], holdout=holdout)
    found = re.search(r'<script type="application/json" id="result">(.*?)</script>', page, re.S)
    assert found
    result = json.loads(found[1])
    check(result)
    assert result["holdout"] == json.loads(holdout.to_json())
    assert "2 different plans came out, the most frequent on 2 of 3 draws." in page


def test_what_is_not_in_the_schema_is_refused() -> None:
    result = json.loads(an_audit(3).to_json())
    with pytest.raises(jsonschema.ValidationError, match="surprise"):
        check({**result, "surprise": 1})
    with pytest.raises(jsonschema.ValidationError, match="advice"):
        check({key: value for key, value in result.items() if key != "advice"})
