"""The studies of transfer and few shots run, at a tiny size, and write what they found."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import few_shot_linear
import few_shot_mnist
import few_shot_sines
import few_shots
import joint_or_sequential
import lp_ft
import mnist_shifts
import pandas as pd
import pytest
import source_choice
import surgical
import taskonomy_transfer

from affinity.fewshot import MAML, FromScratch, PrototypicalNetwork
from affinity.problems import planted
from affinity.training import TrainingSettings

QUICK = TrainingSettings(epochs=1, batch_size=128)
needs_mnist = pytest.mark.skipif(not mnist_shifts.MNIST.exists(), reason="MNIST is not there")
needs_taskonomy = pytest.mark.skipif(
    not taskonomy_transfer.TABLES.exists(), reason="Taskonomy's tables are not there"
)


@pytest.fixture
def study(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    def run(module: ModuleType, *arguments: str, **changed: Any) -> str:
        for name, value in {"OUT": tmp_path, **changed}.items():
            monkeypatch.setattr(module, name, value)
        monkeypatch.setattr(sys, "argv", [module.__name__, *arguments])
        module.main()
        return (next(tmp_path.rglob("README.md"))).read_text(encoding="utf-8")

    return run


@pytest.mark.slow
@needs_mnist
def test_surgical_fine_tuning(study: Any, tmp_path: Path) -> None:
    few = {name: surgical.CASES[name] for name in ("unseen digits", "flipped labels")}
    page = study(
        surgical, "--replicates", "2", "--rows", "20", CASES=few, RATES=(1e-3,), EPOCHS=1,
        SOURCE=QUICK,
    )  # fmt: skip
    table = pd.read_csv(tmp_path / "accuracy.csv")
    assert len(table) == 2 * 2 * len(surgical.RECIPES)
    assert table["accuracy"].between(0, 100).all()
    assert "| output | flipped labels |" in page


@pytest.mark.slow
@needs_mnist
def test_a_probe_before_fine_tuning(study: Any, tmp_path: Path) -> None:
    page = study(lp_ft, "--replicates", "2", "--rows", "20", RATES=(1e-3,), EPOCHS=2, SOURCE=QUICK)
    table = pd.read_csv(tmp_path / "results.csv")
    assert table[table["recipe"] == "linear probe"]["drift"].max() == 0
    assert "| scikit-learn's digits |" in page


@pytest.mark.slow
@pytest.mark.usefixtures("quick_baselines")
@needs_mnist
def test_few_shot_mnist(study: Any, tmp_path: Path) -> None:
    methods = {"from scratch": FromScratch(), "prototypical network": PrototypicalNetwork()}
    page = study(
        few_shot_mnist, "--seeds", "2", "--iterations", "2", "--out", str(tmp_path),
        METHODS=methods, N_TASKS=4, ROWS_A_CLASS=60,
    )  # fmt: skip
    assert "mean over 2 meta-trainings" in page
    assert "| prototypical network |" in page
    assert (tmp_path / "curves.png").stat().st_size > 1000


@pytest.mark.slow
@pytest.mark.usefixtures("quick_baselines")
def test_sine_waves_can_be_stopped_and_gone_on_with(study: Any, tmp_path: Path) -> None:
    pretrained = few_shot_sines.METHODS["pretrained"]
    methods = {"from scratch": FromScratch(), "pretrained": pretrained, "MAML": MAML(inner_steps=1)}
    quick = ("--iterations", "2")
    study(few_shot_sines, "--seeds", "1", *quick, METHODS=methods, N_TASKS=4)
    first = pd.read_csv(tmp_path / "results.csv")
    page = study(few_shot_sines, "--seeds", "2", *quick, METHODS=methods, N_TASKS=4)
    both = pd.read_csv(tmp_path / "results.csv")
    pd.testing.assert_frame_equal(both[both["seed"] == 0], first)
    assert "mean\nover 2 meta-trainings" in page
    assert few_shots.summary(both)["seeds"].eq(2).all()


@pytest.mark.usefixtures("quick_baselines")
def test_what_a_shared_parameter_is_worth(study: Any, tmp_path: Path) -> None:
    page = study(
        few_shot_linear, "--tasks", "4", "--draws", "20", SHOTS=(1, 5), OTHERS=(0, 1), ITERATIONS=2
    )
    assert "| Bayes, θ known |" in page
    assert set(pd.read_csv(tmp_path / "losses.csv")["shots"]) == {1, 5}


@pytest.mark.slow
def test_joint_or_sequential(study: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not joint_or_sequential.TABLES.exists():
        pytest.skip("the tables are not there")
    monkeypatch.setattr(joint_or_sequential, "problem_of", lambda _: tiny())
    page = study(joint_or_sequential, "scene", "--replicates", "2")
    assert "| sequential |" in page
    n_tasks = len(tiny().tasks)
    assert len(pd.read_csv(tmp_path / "scene/pairs.csv")) == n_tasks * (n_tasks - 1)


@pytest.mark.slow
@needs_taskonomy
def test_taskonomy_beside_a_table_of_ours(
    study: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_choice, "problem_of", lambda *_: tiny())
    monkeypatch.setattr(
        sys, "argv", ["source_choice", "made", "--replicates", "2", "--out", str(tmp_path)]
    )
    source_choice.main()
    page = study(taskonomy_transfer)
    assert "### made, 9 tasks, 2 replicates" in page
    assert "| measured transfer | 9 |" in page
    assert "| from pixels | 22 |" in page


def test_a_choice_stands_between_the_best_and_the_worst() -> None:
    values = pd.Series({"a": 0.3, "b": 0.2, "c": -0.1})
    assert source_choice.placed(values, "a")["place"] == 0
    assert source_choice.placed(values, "b") == {
        "place": 0.5, "is_best": 0.0, "value": 0.2, "lost": pytest.approx(0.1),
    }  # fmt: skip
    assert source_choice.placed(values, "c")["place"] == 1


def test_a_rule_that_knows_the_gains_chooses_the_best_source() -> None:
    gains = {("a", "t"): 0.5, ("b", "t"): 0.1, ("c", "t"): -0.2}
    made = pd.DataFrame(
        [
            {"source": source, "target": target, "replicate": at, "evaluation": gain, "test": gain}
            | {"evaluation_scratch": 1.0, "test_scratch": 1.0}
            | dict.fromkeys(("LogME", "LEEP", "H-score"), gain)
            | {"similarity": -gain}
            for (source, target), gain in gains.items()
            for at in range(2)
        ]
    )
    chosen = source_choice.choices(made).groupby("rule")[["place", "lost"]].mean()
    assert chosen.loc[source_choice.MEASURED].tolist() == [0, 0]
    assert chosen.loc["LogME"].tolist() == [0, 0]
    assert chosen.loc["similarity", "place"] == 1
    assert chosen.loc["similarity", "lost"] == pytest.approx(0.7)


def tiny() -> Any:
    return planted(n_rows=60).with_settings(TrainingSettings(epochs=1, batch_size=32))
