"""A wrong call is answered before torch is imported, and heavy libraries wait for their use."""

import subprocess
import sys
from pathlib import Path

import pytest
from codes import raises

from affinity.cli import early_checks, registry_names
from affinity.cli.early_checks import check_run, check_source
from affinity.cli.stages.transfer import BEST
from affinity.estimates import ESTIMATORS
from affinity.fewshot import METHODS
from affinity.sharing import TRUNKS
from affinity.study import ledger
from affinity.tasks.named_metric import ALIASES, METRICS
from affinity.training import OBJECTIVES
from affinity.transfer import RECIPES

WRONG = [
    ["audit", "nothing.csv", "--targets", "a,b"],
    ["transfer", "digit"],
    ["report", "no-run"],
    ["compare", "no-run", "another"],
    ["audit", "digits", "--replicates", "0"],
    ["audit", "table.csv"],
    ["audit", "table.csv", "--targets", "a,d"],
    ["record", "table.csv", "--targets", "a,b", "--time-column", "day"],
    ["transfer", "table.csv", "--targets", "a,b", "--exclude", "e"],
    ["audit", "digits", "--targets", "a,b"],
    ["audit", "digits", "--plan", "none.yaml"],
    ["audit", "digits", "--epochs", "0"],
    ["audit", "digits", "--seed", "1.5"],
    ["audit", "digits", "--seed", "-1"],
    ["audit", "digits", "--seed", "9999999999"],
    ["audit", "digits", "--group-column", "a"],
    ["transfer", "planted", "--validation-share", "0.3"],
    ["audit", "table.csv", "--targets", "a,b", "--date-format", "c=%Q"],
    ["audit", "table.csv", "--targets", "a,b", "--split-column", "c", "--test-share", "0.5"],
    ["compare-objectives", "table.csv", "--targets", "a,d"],
    ["compare-objectives", "digits", "--budget", "2"],
    ["predict", ".", "table.csv"],
    ["audit", "digits", "--test-share", "1"],
    ["audit", "digits", "--estimator", "guess"],
    ["audit", "digits", "--trunk", "tree"],
    ["audit", "digits", "--device", "gpu"],
    ["audit", "table.csv", "--targets", "a,b", "--metric", "a=guess"],
    ["audit", "table.csv", "--targets", "a,b", "--task-weight", "c=2"],
    ["audit", "table.csv", "--targets", "a,b", "--budget", "3"],
    ["compare-objectives", "digits", "--objectives", "sum,guess"],
    ["fewshot", "digits", "--methods", "guess"],
    ["fewshot", "digits", "--shots", "0"],
    ["transfer", "digits", "--recipe", "guess"],
]


@pytest.mark.parametrize("arguments", WRONG)
def test_a_wrong_call_is_answered_without_torch(arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("a,b,c\n1,2,3\n")
    script = (
        "import sys\nfrom affinity.cli import main\n"
        f"try:\n    main({arguments!r})\n"
        "except SystemExit as stopped:\n    print(stopped.code, 'torch' in sys.modules)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert answer.stdout.split() == ["2", "False"]


NAMES = {
    "ESTIMATOR_NAMES": set(ESTIMATORS),
    "TRUNK_NAMES": set(TRUNKS),
    "METRIC_NAMES": {*METRICS, *ALIASES},
    "OBJECTIVE_NAMES": {*OBJECTIVES, "weighted"},
    "METHOD_NAMES": set(METHODS),
    "RECIPE_NAMES": {*RECIPES, BEST},
}


@pytest.mark.parametrize("constant", NAMES)
def test_names_are_those_of_the_registries(constant: str) -> None:
    assert set(getattr(registry_names, constant)) == NAMES[constant]


def test_a_studys_folder_is_known_by_its_ledger() -> None:
    assert early_checks.LEDGER == ledger.LEDGER


@pytest.mark.parametrize("value", ["2.5", "1e3", "two"])
def test_whole_numbers_are_not_rounded(call, value):
    assert call("audit", "digits", "--replicates", value).error == "usage"


def test_retrain_does_not_import_libraries_that_it_may_not_need() -> None:
    script = (
        "import sys, affinity\naffinity.retrain\n"
        "print([name for name in ('scipy.stats', 'sklearn', 'networkx', 'matplotlib', 'joblib')"
        " if name in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"


def test_options_without_an_effect_are_refused(call, csv) -> None:
    wrong = (
        ("audit", "digits", "--missing", "-1"),
        ("audit", "digits", "--sampling-temperature", "5"),
        ("audit", csv, "--targets", "sum,thirds", "--split-column", "w", "--test-share", "0.5"),
        ("fewshot", "sines", "--exclude", "x"),
        ("fewshot", csv, "--target", "sum", "--task-column", "thirds", "--ways", "3"),
    )
    assert [call(*arguments).error for arguments in wrong] == ["unused-option"] * len(wrong)


def test_sources_and_runs_that_there_are(tmp_path: Path) -> None:
    check_source("digits")
    check_source("-")
    check_source(str(tmp_path))
    with raises("no-run"):
        check_run(tmp_path)
    (tmp_path / "run.json").write_text("{}")
    check_run(tmp_path)
    with raises("unknown-source"):
        check_source("digit")
    with raises("no-run"):
        check_run(tmp_path / "none")
