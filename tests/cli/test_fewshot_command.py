"""`affinity fewshot`, as a person meets it."""

import json

import pytest

pytestmark = pytest.mark.usefixtures("quick_baselines")

QUICK = ["--iterations", "2", "--batch", "4", "--tasks", "4", "--steps", "1,2"]


def test_a_table_advice_and_files(call, tmp_path):
    out = tmp_path / "run"
    code, said = call(
        "fewshot", "digits", *QUICK, "--ways", "3", "--shots", "1,5", "--test-classes", "7,8,9",
        "--methods", "from scratch,prototypical network,MAML", "--out", out,
    )  # fmt: skip
    assert code == 0, said
    for shown in (
        "1 shot",
        "5 shots",
        "from scratch",
        "MAML",
        "±",
        "Advice, 1 shot",
        "--replicates",
    ):
        assert shown in said
    assert {file.name for file in out.iterdir()} == {
        "fewshot.html", "fewshot.json", "fewshot.safetensors", "fewshot.csv",
        "1-shot.png", "5-shot.png",
    }  # fmt: skip
    kept = json.loads((out / "fewshot.json").read_text())
    assert kept["steps"] == [1, 2]
    assert kept["n_tasks"] == 4
    assert kept["context"]["source"] == "digits"
    assert kept["advice"][0] in (out / "fewshot.html").read_text()


def test_json_goes_to_standard_output_alone(capsys):
    from affinity.cli import main

    arguments = ["fewshot", "sines", *QUICK, "--shots", "5", "--json", "--methods", "ANIL,Reptile"]
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 0
    written = capsys.readouterr()
    result = json.loads(written.out)
    assert {row["method"] for row in result["rows"]} == {"ANIL", "Reptile"}
    assert result["score"] == "loss"
    assert "Advice" in written.err


@pytest.mark.parametrize(
    ("error", "arguments"),
    [
        ("unknown-source", ["nothing.csv"]),
        (None, ["digits", "--ways", "6"]),
        (None, ["digits", "--ways", "3", "--shots", "200"]),
        (None, ["digits", "--ways", "3", "--batch", "211"]),
        ("usage", ["digits", "--shots", "one"]),
        (None, ["digits", "--methods", "mamal"]),
        ("unused-option", ["sines", "--ways", "3"]),
        ("unused-option", ["digits", "--target", "ink"]),
        ("usage", ["digits", "--width", "0"]),
        (None, ["sines", "--methods", "prototypical network"]),
    ],
)
def test_invalid_input_is_refused(call, error, arguments):
    outcome = call("fewshot", *arguments)
    assert (outcome.exit_code, outcome.error) == (2, error or outcome.error)
    assert outcome.error


def test_a_table_without_a_target_is_told_how(call, csv):
    assert call("fewshot", csv).error == "no-target"
    assert call("fewshot", csv, "--target", "thirds", "--ways", "2").exit_code == 2


def test_a_table_with_classes(call, csv):
    import pandas as pd

    table = pd.read_csv(csv)
    table["letter"] = [*"abcdef"] * 40
    table.to_csv(csv, index=False)
    code, said = call(
        "fewshot", csv, "--target", "letter", "--exclude", "thirds", *QUICK, "--ways", "2",
        "--shots", "2", "--queries", "5", "--methods", "from scratch,pretrained",
    )  # fmt: skip
    assert code == 0, said
    assert "Advice, 2 shots" in said
