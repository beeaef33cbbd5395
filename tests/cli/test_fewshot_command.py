"""`affinity fewshot`, as a person meets it."""

import json

import pytest

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
        "fewshot.html", "fewshot.json", "fewshot.csv", "1-shot.png", "5-shot.png",
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
    ("arguments", "message"),
    [
        (["nothing.csv"], "built-in problems ['digits', 'sines'], but there is no file"),
        (["digits", "--ways", "6"], "at least 12 classes for 6 ways"),
        (["digits", "--ways", "3", "--shots", "200"], "but class '1' has"),
        (["digits", "--ways", "3", "--batch", "211"], "there are 210"),
        (["digits", "--shots", "one"], "whole numbers with commas between for --shots"),
        (["digits", "--methods", "mamal"], "Expected methods among"),
        (["sines", "--ways", "3"], "Expected no --ways here"),
        (["digits", "--target", "ink"], "Expected no --target here"),
        (["digits", "--width", "0"], "width of at least 1"),
        (["sines", "--methods", "prototypical network"], "Expected classes for a prototypical"),
    ],
)
def test_what_cannot_be_used_is_said_in_words(call, arguments, message):
    code, said = call("fewshot", *arguments)
    assert code == 2
    assert message in said.replace("\n", " ")


def test_a_table_without_a_target_is_told_how(call, csv):
    code, said = call("fewshot", csv)
    assert code == 2
    assert "--target species" in said
    code, said = call("fewshot", csv, "--target", "thirds", "--ways", "2")
    assert code == 2
    assert "at least 4 classes for 2 ways" in said


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
