"""Two audits side by side."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from codes import raises
from example_audits import HOSTILE, an_audit

from affinity.cli import compare
from affinity.report import render_comparison, write_comparison
from affinity.report.comparison import correlate_affinities, different_data


@pytest.mark.usefixtures("blank_pictures")
def test_a_comparison_names_the_verdicts_that_changed_and_the_settings_that_differ(
    tmp_path: Path,
) -> None:
    first, second = an_audit(6), an_audit(6, seed=3, n_groups=2, every=5)
    path = write_comparison(first, second, tmp_path / "comparison.html", ("before", "after"))
    page = path.read_text(encoding="utf-8")
    for task in first.gains.tasks:
        row = re.search(rf'<th scope="row" data-csv="{task}">.*?</tr>', page, re.S)
        assert row
        one, two = first.verdicts[task].verdict, second.verdicts[task].verdict
        assert (f"{one} → {two}" in row[0]) == (one != two)
    settings = re.findall(r'<tr><th scope="row">([^<]*)</th><td class="words">', page)
    assert sorted(settings) == ["Maximum number of networks", "Steps between measurements"]


@pytest.mark.parametrize("second", [an_audit(6), an_audit(6, n_groups=2)])
def test_the_title_tells_whether_the_advised_networks_are_the_same(second) -> None:
    first = an_audit(6)
    assert first.advice == second.advice == "plan"
    page = render_comparison(first, second)
    is_same = len(first.plan.grouping.networks) == len(second.plan.grouping.networks)
    assert ("Both audits advise the same networks" in page) == is_same


def test_a_comparison_in_the_terminal_says_which_tasks_and_data_differ(
    tmp_path, monkeypatch
) -> None:
    audits = {"one": an_audit(("a", "b", "c")), "two": an_audit(("b", "c", "d"))}
    monkeypatch.setattr(
        compare,
        "_read",
        lambda path: compare._StudyAudit(audits[path.name]),
    )
    found = compare.compare_runs(tmp_path / "one", tmp_path / "two")
    assert found.only_in == (("a",), ("d",))
    assert not found.different_data
    other = replace(audits["two"], problem="another table")
    assert different_data(audits["one"], other)
    for task in found.tasks:
        assert task.word == tuple(audit.verdict_words[task.name] for audit in audits.values())


def test_an_audit_compared_with_itself_differs_in_nothing() -> None:
    audit = an_audit(4)
    page = render_comparison(audit, audit, ("run", "run"))
    assert "→" not in page[: page.index('id="result"')]
    assert 'id="moved"' not in page
    assert 'id="settings"' not in page
    assert correlate_affinities(audit.matrix, audit.matrix) == pytest.approx(1.0)


def test_hostile_names_stay_text_and_nothing_is_fetched() -> None:
    page = render_comparison(
        an_audit(HOSTILE), an_audit(HOSTILE, seed=1), ("<b>a</b>", "</title>b")
    )
    assert "<img" not in page
    assert "<b>a</b>" not in page
    assert page.count("</title>") == 1
    assert 'src="http' not in page
    assert 'href="http' not in page


@pytest.mark.usefixtures("blank_pictures")
def test_audits_without_a_common_task_cannot_be_compared() -> None:
    with raises("no-common-task"):
        render_comparison(an_audit(("a", "b")), an_audit(("c", "d")))
    assert 'id="left-out"' in render_comparison(an_audit(("a", "b")), an_audit(("b", "c")))
