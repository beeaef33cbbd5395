"""The page of few shots."""

import json
import math
import re
from dataclasses import replace
from pathlib import Path

from example_transfers import a_fewshot

from affinity.report import fewshot_page_of, fewshot_pictures, write_report
from affinity.report.fewshot_words import fewshot_headline
from affinity.storage import to_jsonable


def test_a_page_holds_the_result_and_the_same_result_gives_the_same_page(tmp_path: Path) -> None:
    page = write_report(a_fewshot(), tmp_path / "f.html").read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json" id="result">(.*?)</script>', page, re.S)
    assert found
    assert json.loads(found[1]) == json.loads(json.dumps(to_jsonable(a_fewshot())))
    assert page == fewshot_page_of(a_fewshot())
    assert not re.search(r"https?:|//\w+\.", page)


def test_the_headline_names_a_method_per_number_of_shots_and_warnings() -> None:
    page = fewshot_page_of(a_fewshot())
    assert "Use MAML for 1 and 5 shots." in page
    assert "clouds differ" in page
    assert page.count("advised, 1 shot<") == page.count("advised, 5 shots<") == 1
    made = replace(a_fewshot(), advised={1: "from scratch", 5: "MAML"})
    title = "Learn each new task from scratch for 1 shot; use MAML for 5 shots."
    assert fewshot_headline(made).title == title


def test_the_table_has_every_method_with_intervals_and_curves_stand_below() -> None:
    page = fewshot_page_of(a_fewshot())
    for row in a_fewshot().rows:
        if row.steps == 10:
            assert repr(row.better_low) in page or row.method == "from scratch"
    assert list(fewshot_pictures(a_fewshot())) == ["1-shot", "5-shot"]
    assert page.count("<svg") == 2


def test_without_the_baseline_it_leaves_the_comparison_open() -> None:
    made = a_fewshot(replicates=1)
    unknown = {"better": math.nan, "better_low": math.nan, "better_high": math.nan}
    made = replace(made, rows=tuple(replace(row, **unknown) for row in made.rows))
    assert "other meta-trainings may differ by more" in fewshot_page_of(made)


def test_names_are_escaped() -> None:
    page = fewshot_page_of(a_fewshot('<script>alert("&")</script>'))
    assert '<script>alert("&")' not in page
