"""Mistakes in a call are found before a large table is read, and before anything is trained."""

import pytest
from codes import raises
from rich.console import Console

from affinity import load_table
from affinity.cli.early_checks import check_backend
from affinity.cli.options import RunSettings
from affinity.cli.run import start_run
from affinity.errors import InputError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A table that cannot be read to its end, so that reading it would be noticed."""
    folder = tmp_path_factory.mktemp("large")
    rows = "".join(f"{row},{row % 7},{row % 2},{row % 3}\n" for row in range(200_000))
    (folder / "t.csv").write_text("a,b,late,kind\n" + rows + "1,2\n")
    networks = "networks:\n- {serves: [late]}\n- {serves: [kind, kindd]}\n"
    (folder / "plan.yaml").write_text("version: 1\n" + networks)
    (folder / "text.yaml").write_text("networks: [")
    return folder


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"targets": ("late", "kin")}, "missing-column"),
        ({"exclude": ("c",)}, "missing-column"),
        ({"group_column": "late"}, "group-is-target"),
        ({"sample_weight": "w"}, "missing-column"),
        ({"kinds": {"late": "binar"}}, "unknown-kind"),
        ({"kinds": {"late": "censored:c"}}, "missing-column"),
        ({"metrics": {"late": "roc-auc"}}, "unknown-metric"),
        ({"metrics": {"later": "roc_auc"}}, "unknown-task"),
        ({"task_weights": {"later": 2.0}}, "unknown-task"),
        ({"objective": "weighted", "objective_settings": {"later": 2.0}}, "unknown-task"),
        ({"budget": 3}, "budget-too-large"),
        ({"sharing_settings": {"strength": 1.0}}, "unknown-setting"),
        ({"device": "cuda:99"}, "no-device"),
        ({"epochs": 0}, "out-of-range"),
        ({"learning_rate": -1.0}, "invalid-learning-rate"),
        ({"method": "race", "overlap": True}, "overlap-in-race"),
        ({"estimator": "guess"}, "unknown-estimator"),
        ({"plan": "plan.yaml"}, "invalid-plan"),
        ({"plan": "text.yaml"}, "invalid-yaml"),
        ({"plan": "nothing.yaml"}, "unreadable-file"),
    ],
)
def test_mistakes_are_found_before_the_table_is_read(folder, monkeypatch, settings, code):
    monkeypatch.chdir(folder)
    chosen = RunSettings("t.csv", **{"targets": ("late", "kind"), **settings})
    with raises(code), start_run(chosen, None, Console()):
        pass


def test_the_table_cannot_be_read_to_its_end(folder):
    with pytest.raises(InputError) as error:
        load_table(folder / "t.csv", ["late", "kind"])
    assert error.value.code in ("unreadable-table", "uneven-rows")


def test_backends_that_are_not_installed_are_refused(monkeypatch):
    check_backend(None)
    check_backend("loky")
    monkeypatch.setattr("affinity.cli.early_checks.find_spec", lambda _: None)
    with raises("missing-library"):
        check_backend("ray")
