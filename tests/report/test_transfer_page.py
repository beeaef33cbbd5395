"""The page and the pictures of a transfer."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from affinity.report import LowDataLines, TransferHeatmap, transfer_page_of, write_transfer

HOSTILE = '<script>alert("&")</script>'


def result(name: str = "depth") -> dict[str, Any]:
    pairs = [
        (name, "edges", 0.25, "beneficial"),
        ("edges", name, -0.5, "harmful"),
        ("own inputs", name, 0.001, "neutral"),
        ("own inputs", "edges", 0.1, "undecided"),
    ]
    curve = [
        {"source": name, "target": "edges", "rows": rows, "gain": gain, "low": gain - 0.1}
        | {"high": gain + 0.1, "verdict": verdict, "own_inputs": 0.1}
        for rows, gain, verdict in ((25, 0.4, "beneficial"), (100, 0.0, "undecided"))
    ]
    return {
        "problem": "made up",
        "recipe": "full fine-tuning",
        "n_replicates": 5,
        "sources": [name, "edges", "own inputs"],
        "targets": [name, "edges"],
        "pairs": [
            {"source": source, "target": target, "gain": gain, "low": gain - 0.1}
            | {"high": gain + 0.1, "verdict": verdict}
            | {"beyond": None, "beyond_low": None, "beyond_high": None, "beyond_verdict": None}
            for source, target, gain, verdict in pairs
        ],
        "lines": [f"edges: {name} first."],
        "scores": [{"score": "LogME", "spearman": 0.5, "ceiling": None, "n_targets": 2}],
        "curves": curve,
        "joint": [],
    }


def test_a_page_holds_the_result_and_the_same_result_gives_the_same_page(tmp_path: Path) -> None:
    page = write_transfer(result(), tmp_path / "t.html").read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json" id="result">(.*?)</script>', page, re.S)
    assert found
    assert json.loads(found[1]) == result()
    assert page == transfer_page_of(result())
    assert "depth first." in page
    assert not re.search(r"https?:|//\w+\.", page)


def test_names_are_escaped() -> None:
    page = transfer_page_of(result(HOSTILE))
    assert "alert(&#34;" in page
    assert HOSTILE not in page


def test_the_heatmap_gives_its_gains_and_verdicts_as_tables() -> None:
    picture = TransferHeatmap(result())
    assert picture.frame().loc["depth"].isna().tolist() == [True, False]
    assert picture.frame().loc["edges", "depth"] == -0.5
    assert picture.verdicts().loc["own inputs", "edges"] == "undecided"
    assert picture.limit == 0.5


def test_the_heatmap_tells_what_was_decided_without_colour(tmp_path: Path) -> None:
    texts = {t.get_text(): t.get_fontweight() for t in TransferHeatmap(result()).plot().texts}
    assert texts == {"25": "bold", "\N{MINUS SIGN}50": "bold", "≈0": "bold", "10": "normal"}
    file = TransferHeatmap(result()).save(tmp_path / "t.png")
    assert file.stat().st_size > 1000


def test_a_heatmap_without_decisions_has_a_scale() -> None:
    undecided = result()
    for pair in undecided["pairs"]:
        pair["verdict"] = "undecided"
    assert TransferHeatmap(undecided).limit == pytest.approx(0.1)


def test_the_lines_fill_the_dots_that_were_decided() -> None:
    axes = LowDataLines(result()["curves"]).plot()
    dots = [line for line in axes.lines if line.get_marker() == "o"]
    assert [dot.get_markerfacecolor() == "white" for dot in dots] == [False, True]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["25", "100"]
