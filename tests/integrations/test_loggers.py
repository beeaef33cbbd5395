"""Loggers, each with the real library and a store on this machine."""

import json
import sys

import pytest
from codes import raises

from affinity import Plan, TrainingSettings, load_digits, retrain
from affinity.integrations.loggers import LOGGERS, audit_scalars

pytestmark = [
    # The libraries' own deprecations are not ours to mend.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture(scope="module")
def audit():
    problem = load_digits(width=8).with_settings(TrainingSettings(epochs=2))
    return retrain(Plan.all_in_one(problem.names), problem, replicates=2)


def test_tensorboard_shows_scalars_table_and_pictures(audit, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    LOGGERS["tensorboard"](audit, tmp_path)
    events = EventAccumulator(str(tmp_path)).Reload()
    for name, value in audit_scalars(audit).items():
        assert events.Scalars(name)[0].value == pytest.approx(value)
    assert "gains" in events.Tags()["images"]
    text = events.Tensors("gains/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "| ink |" in text


@pytest.mark.slow
def test_mlflow_keeps_metrics_and_files(audit, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # a database would need more libraries
    mlflow.set_tracking_uri((tmp_path / "store").as_uri())
    with raises("no-active-run"):
        LOGGERS["mlflow"](audit)
    with mlflow.start_run() as run:
        LOGGERS["mlflow"](audit)
    found = mlflow.get_run(run.info.run_id)
    assert found.data.metrics == pytest.approx(audit_scalars(audit))
    assert found.data.tags["affinity.advice"] == audit.advice
    folder = next((tmp_path / "store").rglob("audit.json")).parent
    assert json.loads((folder / "audit.json").read_text())["advice"] == audit.advice
    assert (folder / "report.html").exists()
    assert list((folder / "figures").glob("*.png"))


@pytest.mark.slow
def test_wandb_works_offline(audit, tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_SILENT", "true")
    with wandb.init(
        project="affinity",
        dir=str(tmp_path),
        mode="offline",
        settings=wandb.Settings(console="off", x_disable_stats=True),
    ) as run:
        LOGGERS["wandb"](audit, run)
        assert run.summary["advice"] == audit.advice
        for name, value in audit_scalars(audit).items():
            assert run.summary[name] == pytest.approx(value)
        assert "gains" in run.summary.keys()  # noqa: SIM118
    media = {file.suffix for file in tmp_path.rglob("media/**/*") if file.is_file()}
    assert media >= {".png", ".html"}
    assert list(tmp_path.rglob("*.wandb"))


def test_a_missing_library_is_an_error(audit, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with raises("missing-library"):
        LOGGERS["mlflow"](audit)
