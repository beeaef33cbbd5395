"""The page and the pictures of a transfer."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from example_transfers import a_transfer

from affinity.report import LowDataLines, TransferHeatmap, transfer_page_of, write_report
from affinity.report.transfer_words import transfer_headline
from affinity.storage import to_jsonable
from affinity.transfer import TransferSummary
from affinity.transfer.choose_recipe import PairRecipe, RecipeGain
from affinity.transfer.report import ChoiceSummary

SECTIONS = ("rows", "joint", "scores", "distortion")
HOSTILE = '<script>alert("&")</script>'


def test_a_page_holds_the_result_and_the_same_result_gives_the_same_page(tmp_path: Path) -> None:
    page = write_report(a_transfer(), tmp_path / "t.html").read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json" id="result">(.*?)</script>', page, re.S)
    assert found
    assert json.loads(found[1]) == json.loads(json.dumps(to_jsonable(a_transfer())))
    assert page == transfer_page_of(a_transfer())
    assert "Train a source first for edges" in page
    assert not re.search(r"https?:|//\w+\.", page)


def test_a_page_shows_what_is_wrong_with_the_data() -> None:
    warned = replace(a_transfer(), warnings=("Column '<b>x</b>' gives target 'a' away.",))
    assert 'id="warnings"' in transfer_page_of(warned)
    assert "<b>x</b>" not in transfer_page_of(warned)
    assert 'id="warnings"' not in transfer_page_of(a_transfer())


def with_verdicts(summary: TransferSummary, **changes: dict[str, object]) -> TransferSummary:
    """The summary with changed fields of the pairs whose source is named."""
    pairs = (
        replace(pair, **changes.get(pair.source.replace(" ", "_"), {})) for pair in summary.pairs
    )
    return replace(summary, pairs=tuple(pairs))


def test_the_headline_names_a_source_only_for_a_gain_beyond_the_control() -> None:
    made = a_transfer()
    headline = transfer_headline(made)
    assert headline.title.startswith("Train a source first for edges: it helps more")
    assert "1 of 2 pairs was found harmful" in " ".join(headline.sentences)  # without the control
    as_good = with_verdicts(made, depth={"beyond_verdict": "undecided"})
    assert transfer_headline(as_good).title.startswith("Train a source first for edges; pretrain")
    both = {"beyond_verdict": "undecided"}
    control = with_verdicts(made, depth=both, own_inputs={"verdict": "beneficial"})
    assert transfer_headline(control).title.startswith("Pretrain ")
    undecided = with_verdicts(made, depth={"verdict": "undecided", "low": 0.15})
    assert transfer_headline(undecided).title.startswith("Undecided for edges")
    assert (
        "after the correction for the number of pairs" in transfer_headline(undecided).sentences[0]
    )
    assert not transfer_headline(undecided).is_sure
    nothing = with_verdicts(made, depth={"verdict": "neutral"})
    assert transfer_headline(nothing).title.startswith("Train from scratch")
    assert transfer_headline(replace(made, n_replicates=1)).title.startswith("Measured once")


def test_a_page_shows_the_sections_that_were_measured() -> None:
    made = a_transfer()
    assert [f'id="{name}"' in transfer_page_of(made) for name in SECTIONS] == [True] * 4
    bare = replace(made, curves=(), joint=(), scores=(), distortion=None)
    assert [f'id="{name}"' in transfer_page_of(bare) for name in SECTIONS] == [False] * 4


def test_recipes_chosen_for_each_pair_are_in_its_table_with_the_gain_of_choosing() -> None:
    made = a_transfer()
    assert 'id="recipes"' not in transfer_page_of(made)
    recipes = tuple(
        PairRecipe(pair.source, pair.target, "L2-SP", 0.0625, 0.05, 0.075, "beneficial")
        for pair in made.pairs
    )
    overall = RecipeGain("chosen for each pair", 0, 0.1, 0.0, 0.2, 0.03125, 0.0, 0.1, 7.0)
    choice = ChoiceSummary(
        "full fine-tuning",
        "Choosing is worth its cost.",
        (overall, replace(overall, recipe="L2-SP", pairs=4)),
    )
    page = transfer_page_of(replace(made, recipes=recipes, choice=choice))
    assert page.count('<td class="words">L2-SP</td>') == 4
    assert 'id="recipes"' in page
    assert "Choosing is worth its cost." in page


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


def test_the_heatmap_shows_verdicts_without_colour(tmp_path: Path) -> None:
    texts = {t.get_text(): t.get_fontweight() for t in TransferHeatmap(a_transfer()).plot().texts}
    assert texts == {"25": "bold", "\N{MINUS SIGN}50": "bold", "≈0": "bold", "10": "normal"}
    file = TransferHeatmap(a_transfer()).save(tmp_path / "t.png")
    assert file.stat().st_size > 1000


def test_a_heatmap_without_decisions_has_a_scale() -> None:
    made = a_transfer()
    undecided = tuple(replace(pair, verdict="undecided") for pair in made.pairs)
    assert TransferHeatmap(replace(made, pairs=undecided)).limit == pytest.approx(0.1)


def test_the_lines_fill_the_dots_that_were_decided() -> None:
    axes = LowDataLines(a_transfer().curves).plot()
    dots = [line for line in axes.lines if line.get_marker() == "o"]
    assert [dot.get_markerfacecolor() == "white" for dot in dots] == [False, True]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["25", "100"]
