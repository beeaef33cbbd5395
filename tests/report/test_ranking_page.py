"""The page of a ranking run: every number of the run, hostile names escaped."""

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import affinity
from affinity.ranking import DailyTrainer, RankingObjective, RankingSettings

sys.path.insert(0, str(Path(__file__).parents[1] / "ranking"))
from made_up_log import impressions, log

SMALL = RankingSettings(hidden=16, width=16, tower=8, embedding=4, buckets=128, batch_size=16)
NAME = "<b>like</b> & $x$"


@pytest.fixture(scope="module")
def run():
    frame = log().rename(columns={"like": NAME})
    objectives = [
        RankingObjective("click"),
        RankingObjective("watch", "squared error"),
        RankingObjective(NAME, family="satisfaction", after="click"),
    ]
    return DailyTrainer(SMALL, every=3).train(impressions(frame, objectives))


def test_the_page_holds_the_run(run, tmp_path):
    page = affinity.write_report(run, tmp_path / "page.html").read_text()
    assert NAME not in page
    assert "&lt;b&gt;like&lt;/b&gt;" in page
    result = json.loads(re.search(r'id="result">(.*?)</script>', page, re.DOTALL).group(1))
    assert [day["day"] for day in result["days"]] == [day.day for day in run.days]
    assert result["days"][1]["metrics"]["click"]["auc"] == run.days[1].metrics["click"].auc
    assert result["cost"]["parameters"] == run.cost.parameters
    assert {row["source"] for row in result["pairs"]} == {"click", "watch"}
    figures = re.findall(r'<figure id="figure-(\w+)"', page)
    assert figures == ["auc", "drift", "affinity", "layers", "gates"]


@pytest.mark.usefixtures("blank_pictures")
def test_a_run_without_recorder_or_gates_has_a_page(run, tmp_path):
    days = tuple(replace(day, gates=(), polarized=()) for day in run.days)
    plain = replace(run, trace=None, days=days)
    page = affinity.write_report(plain, tmp_path / "page.html").read_text()
    assert re.findall(r'<figure id="figure-(\w+)"', page) == ["auc", "drift"]


@pytest.mark.usefixtures("blank_pictures")
def test_alerts_stand_on_the_page(run, tmp_path):
    last = replace(run.days[-1], polarized=("click",))
    page = affinity.write_report(replace(run, days=(*run.days[:-1], last)), tmp_path / "page.html")
    assert 'data-code="gate-polarized"' in page.read_text()
