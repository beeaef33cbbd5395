"""A small table with three tasks, and the command called as a person would."""

import json
import re
import shutil
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest

from affinity.cli import main

RECORD = [
    *("--target", "sum", "--target", "sign, of y", "--target", "thirds"),
    *("--epochs", "3", "--measure-every", "2", "--width", "8"),
]


def write_table(path):
    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.normal(size=(240, 4)), columns=list("wxyz"))
    frame["sum"] = frame["w"] + frame["x"] + 0.1 * random.normal(size=240)
    frame["sign, of y"] = (frame["y"] > 0).map({True: "plus", False: "minus"})
    frame["thirds"] = pd.cut(frame["z"], 3, labels=["low", "mid", "high"]).astype(str)
    frame.loc[::5, "thirds"] = np.nan
    frame.to_csv(path, index=False)
    return path


@pytest.fixture(autouse=True)
def quick(blank_pictures, in_one_process): ...


@pytest.fixture(autouse=True)
def by_affinity_unless_asked(monkeypatch):
    """Races, linearized networks and ways to share take seconds; single tests ask for them."""
    monkeypatch.setattr("affinity.cli.stages.group.fits_race", lambda _: False)
    monkeypatch.setattr("affinity.cli.stages.group.LISTED", 0)
    monkeypatch.setattr(
        "affinity.cli.stages.group.affordable_ways", lambda *_: ((), {"mmoe": 60.0})
    )


@pytest.fixture
def csv(tmp_path):
    return write_table(tmp_path / "table.csv")


@pytest.fixture(autouse=True)
def few_trees(monkeypatch):
    """The reference of an audit is boosted briefly."""
    monkeypatch.setattr("affinity.audit.reference.MOST_ITERATIONS", 3)


@pytest.fixture(scope="session")
def grouped(tmp_path_factory):
    """A table and a run of it that was recorded, estimated and grouped, to be copied."""
    folder = tmp_path_factory.mktemp("grouped")
    csv, out = write_table(folder / "table.csv"), folder / "run"
    for arguments in (
        ["record", csv, *RECORD, "--out", out],
        ["estimate", out],
        ["group", out, "--budget", "2", "--method", "affinity"],
    ):
        with pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in arguments])
        assert stop.value.code == 0
    return csv, out


def copy_run(made, csv, to):
    was, folder = made
    shutil.copytree(folder, to)
    about = to / "run.json"
    about.write_text(about.read_text().replace(str(was), str(csv)))
    return to


@pytest.fixture(scope="session")
def audited(grouped, tmp_path_factory):
    """The same, retrained on two replicates."""
    folder = tmp_path_factory.mktemp("audited")
    csv = write_table(folder / "table.csv")
    out = copy_run(grouped, csv, folder / "run")
    with pytest.raises(SystemExit) as stop:
        main(["retrain", str(out), "--replicates", "2"])
    assert stop.value.code == 0
    return csv, out


@pytest.fixture
def run(grouped, csv, tmp_path):
    """A recorded, estimated and grouped run of `csv`."""
    return copy_run(grouped, csv, tmp_path / "run")


@pytest.fixture
def retrained(audited, csv, tmp_path):
    """A run of `csv` that was retrained, too."""
    return copy_run(audited, csv, tmp_path / "run")


class Outcome(NamedTuple):
    """How a command ended, and what it printed."""

    exit_code: int
    text: str

    @property
    def words(self):
        """The text without line breaks."""
        return " ".join(self.text.split())

    @property
    def error(self):
        """The code of the error that was printed."""
        found = re.search(r"^Error \(([a-z-]+)\)", self.text, re.MULTILINE)
        return found and found[1]

    @property
    def skipped(self):
        """The stages that were up to date."""
        return re.findall(r"^(\w+): up to date", self.text, re.MULTILINE)

    @property
    def json(self):
        """The JSON object on standard output, wherever it stands among the text."""
        start = re.search(r"^\{", self.text, re.MULTILINE)
        return json.JSONDecoder().raw_decode(self.text[start.start() :])[0]


@pytest.fixture
def call(capsys):
    def run(*arguments):
        with pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in arguments])
        return Outcome(stop.value.code, "".join(capsys.readouterr()))

    return run
