"""The page and the pictures of a transfer."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from example_transfers import a_transfer

from affinity.report import LowDataLines, TransferHeatmap, transfer_page_of, write_transfer
from affinity.report.transfer_words import transfer_headline

SECTIONS = ("rows", "joint", "scores", "distortion")
HOSTILE = '<script>alert("&")</script>'


def test_a_page_holds_the_result_and_the_same_result_gives_the_same_page(tmp_path: Path) -> None:
    page = write_transfer(a_transfer(), tmp_path / "t.html").read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json" id="result">(.*?)</script>', page, re.S)
    assert found
    assert json.loads(found[1]) == a_transfer()
    assert page == transfer_page_of(a_transfer())
    assert "Learn a source first for edges" in page
    assert not re.search(r"https?:|//\w+\.", page)


def test_a_page_opens_with_what_to_learn_first_and_gives_credit_beyond_the_control() -> None:
    made = a_transfer()
    assert transfer_headline(made).title.startswith("Learn a source first for edges")
    assert "1 of 4 pairs was found harmful, most of all edges for depth" in page_text(made)
    pair = made["pairs"][0]
    pair["beyond_verdict"] = "undecided"
    title = "Learn a source first for edges; their own inputs may do as well."
    assert transfer_headline(made).title == title
    made["pairs"][3]["verdict"] = "beneficial"  # from its own inputs
    assert transfer_headline(made).title.startswith("Pretrain edges on unlabelled inputs")
    pair["verdict"] = "undecided"
    assert transfer_headline(made).title.startswith("Train from scratch: no source was found")
    made["n_replicates"] = 1
    assert transfer_headline(made).title.startswith("Measured once")


def test_a_page_shows_the_sections_that_were_measured() -> None:
    made = a_transfer()
    assert [f'id="{name}"' in transfer_page_of(made) for name in SECTIONS] == [True] * 4
    for name in ("curves", "joint", "scores", "distortion"):
        made.pop(name)
    assert [f'id="{name}"' in transfer_page_of(made) for name in SECTIONS] == [False] * 4


def test_recipes_chosen_for_each_pair_stand_in_its_table_with_what_choosing_is_worth() -> None:
    made = a_transfer()
    assert 'id="recipes"' not in transfer_page_of(made)
    made["recipes"] = [
        {"source": pair["source"], "target": pair["target"], "recipe": "L2-SP"}
        | {"gain": 0.0625, "low": 0.05, "high": 0.075, "verdict": "beneficial"}
        for pair in made["pairs"]
    ]
    overall = {"recipe": "chosen for each pair", "pairs": 0, "seconds": 7.0}
    overall |= {"gain": 0.1, "gain_low": 0.0, "gain_high": 0.2}
    overall |= {"over": 0.03125, "over_low": 0.0, "over_high": 0.1}
    made["choice"] = {
        "over": "full fine-tuning",
        "summary": "Choosing is worth its cost.",
        "overall": [overall, overall | {"recipe": "L2-SP", "pairs": 4}],
    }
    page = transfer_page_of(made)
    assert page.count('<td class="words">L2-SP</td>') == 4
    assert 'id="recipes"' in page
    assert "Choosing is worth its cost." in page
    assert "a pair and its control keep the recipe that was chosen" in page


def page_text(made: dict[str, Any]) -> str:
    return " ".join(transfer_headline(made).sentences)


def test_names_are_escaped() -> None:
    page = transfer_page_of(a_transfer(HOSTILE))
    assert "alert(&#34;" in page
    assert HOSTILE not in page


def test_the_heatmap_gives_its_gains_and_verdicts_as_tables() -> None:
    picture = TransferHeatmap(a_transfer())
    assert picture.frame().loc["depth"].isna().tolist() == [True, False]
    assert picture.frame().loc["edges", "depth"] == -0.5
    assert picture.verdicts().loc["own inputs", "edges"] == "undecided"
    assert picture.limit == 0.5


def test_the_heatmap_tells_what_was_decided_without_colour(tmp_path: Path) -> None:
    texts = {t.get_text(): t.get_fontweight() for t in TransferHeatmap(a_transfer()).plot().texts}
    assert texts == {"25": "bold", "\N{MINUS SIGN}50": "bold", "≈0": "bold", "10": "normal"}
    file = TransferHeatmap(a_transfer()).save(tmp_path / "t.png")
    assert file.stat().st_size > 1000


def test_a_heatmap_without_decisions_has_a_scale() -> None:
    undecided = a_transfer()
    for pair in undecided["pairs"]:
        pair["verdict"] = "undecided"
    assert TransferHeatmap(undecided).limit == pytest.approx(0.1)


def test_the_lines_fill_the_dots_that_were_decided() -> None:
    axes = LowDataLines(a_transfer()["curves"]).plot()
    dots = [line for line in axes.lines if line.get_marker() == "o"]
    assert [dot.get_markerfacecolor() == "white" for dot in dots] == [False, True]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["25", "100"]
