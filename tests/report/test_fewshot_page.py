"""The page of few shots."""

import json
import re
from pathlib import Path

from example_transfers import a_fewshot

from affinity.report import fewshot_page_of, fewshot_pictures, write_fewshot


def test_a_page_holds_the_result_and_the_same_result_gives_the_same_page(tmp_path: Path) -> None:
    page = write_fewshot(a_fewshot(), tmp_path / "f.html").read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json" id="result">(.*?)</script>', page, re.S)
    assert found
    assert json.loads(found[1]) == json.loads(json.dumps(a_fewshot()))
    assert page == fewshot_page_of(a_fewshot())
    assert not re.search(r"https?:|//\w+\.", page)


def test_it_opens_with_what_to_do_at_which_number_of_shots_and_with_doubts() -> None:
    page = fewshot_page_of(a_fewshot())
    assert "Use MAML for 1 and 5 shots." in page
    assert "do not look drawn from the distribution" in page
    assert page.count("advised, 1 shot<") == page.count("advised, 5 shots<") == 1
    made = a_fewshot()
    made["advised"] = {"1": "from scratch", "5": "MAML"}
    title = "Learn each new task from scratch for 1 shot; use MAML for 5 shots."
    assert title in fewshot_page_of(made)


def test_the_table_has_every_method_with_intervals_and_curves_stand_below() -> None:
    page = fewshot_page_of(a_fewshot())
    for row in a_fewshot()["rows"]:
        if row["steps"] == 10:
            assert repr(row["better_low"]) in page or row["method"] == "from scratch"
    assert list(fewshot_pictures(a_fewshot())) == ["1-shot", "5-shot"]
    assert page.count("<svg") == 2


def test_without_the_baseline_it_leaves_the_comparison_open() -> None:
    made = a_fewshot(replicates=1)
    for row in made["rows"]:
        for name in ("better", "better_low", "better_high"):
            row.pop(name, None)
    assert "other meta-trainings may differ by more" in fewshot_page_of(made)


def test_names_are_escaped() -> None:
    page = fewshot_page_of(a_fewshot('<script>alert("&")</script>'))
    assert '<script>alert("&")' not in page
