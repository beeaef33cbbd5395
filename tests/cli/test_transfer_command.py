"""`affinity transfer`: what a person types, reads and edits."""

import json

import pandas as pd
import pytest
import torch

from affinity import load_table
from affinity.transfer import save_trunk
from affinity.transfer.choose_recipe import CHOSEN

DATA = ["--target", "sum", "--target", "sign, of y", "--target", "thirds"]
QUICK = ["--epochs", "3", "--replicates", "2", "--width", "8"]


@pytest.fixture
def run(call, csv, tmp_path):
    def of(*more):
        return call("transfer", csv, *DATA, *QUICK, "--out", tmp_path / "run", *more)

    return of


@pytest.mark.slow
def test_one_command_goes_from_a_table_to_what_to_learn_first(run, tmp_path):
    code, said = run("--rows", "20", "--joint", "--distortion", "--png")
    assert code == 0, said
    result = json.loads((tmp_path / "run/transfer.json").read_text())
    assert result["sources"] == ["sum", "sign, of y", "thirds", "all others", "own inputs"]
    assert len(result["pairs"]) == 3 * 2 + 3 + 3
    assert {row["score"] for row in result["scores"]} == {
        *("LogME", "LEEP", "H-score", "representation similarity")
    }
    assert {row["rows"] for row in result["curves"]} >= {20}
    assert {row["rows"] for row in result["distortion"]["overall"]} == {
        "in distribution",
        "shifted",
    }
    assert result["distortion"]["summary"] in said
    assert result["context"]["command"].startswith("affinity ")
    assert {row["advice"] for row in result["joint"]} <= {"joint", "sequential", "neither"}
    table = pd.read_csv(tmp_path / "run/transfer.csv")
    assert table["gain"].tolist() == pytest.approx([pair["gain"] for pair in result["pairs"]])
    assert "<!doctype html>" in (tmp_path / "run/transfer.html").read_text()
    assert (tmp_path / "run/figures/transfer.png").is_file()  # tests of reports look into it
    for line in result["lines"]:
        assert line in said


def test_the_result_holds_what_is_wrong_with_the_data(call, csv, tmp_path):
    table = tmp_path / "leak.csv"
    pd.read_csv(csv).assign(twin=lambda each: each["sum"] * 2).to_csv(table, index=False)
    few = ["--from", "sum", "--to", "thirds", "--out", tmp_path / "run"]
    assert call("transfer", table, *DATA, *QUICK, *few)[0] == 0
    warnings = json.loads((tmp_path / "run/transfer.json").read_text())["warnings"]
    assert any("'twin'" in warning for warning in warnings)


def test_the_same_command_does_nothing_again(run, tmp_path):
    few = ["--from", "sum", "--to", "thirds"]
    code, said = run(*few)
    assert code == 0
    assert "1 pair measured" in said
    before = (tmp_path / "run/transfer.json").stat().st_mtime_ns
    code, said = run(*few)
    assert (code, (tmp_path / "run/transfer.json").stat().st_mtime_ns) == (0, before)
    assert run("--from", "sum", "--to", "sign, of y")[0] == 0
    assert (tmp_path / "run/transfer.json").stat().st_mtime_ns != before


def test_a_tuning_plan_is_written_edited_and_followed(run, tmp_path):
    code, said = run("--recipe", "gradual unfreezing", "--plan-only")
    file = tmp_path / "run/tuning.yaml"
    assert code == 0, said
    assert "--tuning-plan" in said
    text = file.read_text()
    edited = tmp_path / "mine.yaml"
    edited.write_text(text.replace("recipe: gradual unfreezing", "recipe: my own"))
    few = ["--from", "sum", "--to", "thirds", "--tuning-plan", edited]
    assert run(*few)[0] == 0
    assert json.loads((tmp_path / "run/transfer.json").read_text())["recipe"] == "my own"
    edited.write_text(text.replace("trunk.0", "trunk.7"))
    code, said = run(*few)
    assert code == 2
    assert "trunk.7" in said


@pytest.mark.slow
def test_the_best_recipe_is_chosen_for_each_pair(run, tmp_path):
    code, said = run("--recipe", "best", "--from", "sum", "--to", "thirds")
    assert code == 0, said
    result = json.loads((tmp_path / "run/transfer.json").read_text())
    assert result["recipe"] == CHOSEN
    assert [(each["source"], each["target"]) for each in result["recipes"]] == [("sum", "thirds")]


def test_the_best_architecture_is_chosen_for_each_pair(run, tmp_path):
    code, said = run(
        *("--architectures", "4x1,residual:8x2", "--from", "sum", "--to", "thirds"),
        *("--rows", "20"),
    )
    assert code == 0, said
    result = json.loads((tmp_path / "run/transfer.json").read_text())
    ways = [row["recipe"] for row in result["choice"]["overall"]][2:]
    usual = "full fine-tuning"
    assert ways == [usual, f"{usual}, trunk 4x1", f"{usual}, trunk residual:8x2"]
    assert result["choice"]["over"] == usual
    assert result["recipes"][0]["recipe"] in ways
    code, said = run("--architectures", "4x1,residual:8x2", "--from", "sum", "--to", "thirds")
    assert code == 0, said


def test_groups_and_files_of_weights_are_sources(run, csv, tmp_path):
    problem = load_table(csv, targets=["sum", "sign, of y", "thirds"], width=8)
    torch.manual_seed(0)
    file = save_trunk(problem.trunk(), tmp_path / "trunk.safetensors")
    code, said = run(
        *("--from", "own inputs", "--group", "two=sum,thirds", "--weights", f"elsewhere={file}"),
        *("--to", "sign, of y"),
    )
    assert code == 0, said
    result = json.loads((tmp_path / "run/transfer.json").read_text())
    assert result["sources"] == ["own inputs", "two", "elsewhere"]
    wrong = save_trunk(torch.nn.Linear(4, 8), tmp_path / "wrong.safetensors")
    code, said = run("--from", "sum", "--weights", f"elsewhere={wrong}")
    assert code == 2
    assert "Missing: ['0.0.weight'" in said.replace("\n", " ")
    assert "Unexpected: ['bias', 'weight']" in said.replace("\n", " ")


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--recipe", "magic"], "'magic'"),
        (["--from", "summ"], "['summ']"),
        (["--to", "summ"], "['summ']"),
        (["--group", "two"], "--group"),
        (["--weights", "=x"], "--weights"),
        (["--recipe", "best", "--replicates", "1"], "--replicates"),
        (["--architectures", "8x2", "--replicates", "1"], "--replicates"),
        (["--architectures", "wide"], "'wide'"),
        (["--architectures", "tree:8x2"], "'tree'"),
        (["--rows", "few"], "--rows"),
        (["--rows", "1"], "--rows"),
        (["--from", "own inputs", "--rows", "20"], "--from"),
        (["--tuning-plan", "missing.yaml"], "'missing.yaml'"),
    ],
)
def test_invalid_options_are_named(run, flags, named):
    code, said = run("--from", "sum", *flags) if "--from" not in flags else run(*flags)
    assert code == 2
    assert named in said.replace("\n", " ")
