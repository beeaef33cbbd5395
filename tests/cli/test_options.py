"""One declaration per option: flags, config keys, defaults, help and the reference page."""

import json
from dataclasses import fields
from pathlib import Path
from typing import get_args, get_type_hints

import msgspec
import pytest

from affinity import Plan
from affinity.cli import commands
from affinity.cli.main import make_app
from affinity.cli.options import (
    AuditOptions,
    OutputOptions,
    RecordSettings,
    RunSettings,
    select,
)
from affinity.cli.reference import write_reference
from affinity.cli.study_commands import COMMANDS
from affinity.sharing import SHARINGS
from affinity.training import OBJECTIVES, SAMPLINGS

NAMES = [
    *(name for name in make_app() if not name.startswith("-") and name != "study"),
    *(f"study {name}" for name in COMMANDS),
]
KEPT = (
    "targets target task-column kind exclude time-column split-column budget replicates epochs "
    "width minutes race-minutes plan fail-on junit json quiet out seed"
)
ROOT = Path(__file__).parents[2]


def options_of(name):
    (options,) = (
        hint
        for hint in get_type_hints(
            COMMANDS[name.removeprefix("study ")]
            if name.startswith("study ")
            else getattr(commands, name.replace("-", "_"))
        ).values()
        if isinstance(hint, type) and issubclass(hint, OutputOptions)
    )
    return options


def arguments_of(name):
    app = make_app()
    for part in name.split():
        app = app[part]
    return [
        argument
        for argument in app.assemble_argument_collection()
        if argument.parse and not argument.children
    ]


@pytest.mark.parametrize("name", NAMES)
def test_every_option_has_a_flag_and_a_help_text(call, name):
    shown = call(*name.split(), "--help")
    assert shown.exit_code == 0
    names = {argument.field_info.name for argument in arguments_of(name)}
    declared = {field.name for field in fields(options_of(name))}
    assert names == declared - {"known_share"}
    for argument in arguments_of(name):
        assert argument.parameter.help.endswith("."), argument.name
        assert any(flag in shown.text for flag in argument.names), argument.name


def test_the_audit_keeps_the_options_that_scripts_rely_on():
    flags = {flag for argument in arguments_of("audit") for flag in argument.names}
    assert flags >= {f"--{name}" for name in KEPT.split()}


def test_examples_in_the_help_are_shown(call):
    assert "affinity audit digits --plan mine.yaml" in call("audit", "--help").words


def test_settings_survive_run_json():
    settings = select(RunSettings, AuditOptions("t.csv", targets=("a", "b"), kinds={"a": "binary"}))
    text = msgspec.json.encode(settings)
    assert msgspec.json.decode(text, type=RunSettings) == settings


def test_the_options_of_the_recorded_run_are_those_that_no_later_stage_takes():
    later = {field.name for field in fields(RunSettings)}
    later -= {field.name for field in fields(RecordSettings)}
    assert later == {
        *("estimator", "budget", "overlap", "sharing", "method", "race_minutes", "tolerance"),
        *("plan", "replicates", "minutes", "max_replicates", "baselines", "reference"),
        *("time_limit", "sharing_settings"),
    }


def test_a_stage_takes_what_is_not_given_from_its_run(call, run):
    file = run / "run.json"
    record = json.loads(file.read_text())
    record["settings"]["budget"] = 1
    file.write_text(json.dumps(record))
    assert call("group", run)[0] == 0
    assert len(Plan.from_yaml(run / "plan.yaml").grouping.networks) == 1
    assert call("group", run)[0] == 0
    assert call("group", run, "--budget", "3").skipped == []
    assert call("group", run, "--budget", "3").skipped == ["group"]


def test_the_reference_page_is_up_to_date(tmp_path):
    page = ROOT / "docs" / "reference" / "command-line.md"
    fresh = write_reference(tmp_path / "page.md").read_text()
    assert page.read_text() == fresh, "run: python -m affinity.cli.reference"
    assert all(f"## affinity {name}" in fresh for name in NAMES)


def test_every_way_to_share_and_every_objective_can_be_named() -> None:
    types = get_type_hints(RunSettings)
    names, _ = get_args(types["sharing"])  # or none
    assert set(get_args(names)) == {"auto", *SHARINGS}
    assert set(get_args(types["objective"])) == {"weighted", *OBJECTIVES}
    assert get_args(types["task_sampling"]) == SAMPLINGS
