"""What README and docs show runs as it stands, and the documentation's site builds."""

import os
import re
import shlex
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as Xml

import numpy as np
import pandas as pd
import pytest
import yaml

import affinity

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
ENVIRONMENT = {
    **os.environ,
    "OMP_NUM_THREADS": "1",
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
}


def _blocks(language: str) -> list:
    """Every code block in this language, named by its page and number."""
    return [
        pytest.param(block, id=f"{page.stem} {number}")
        for page in PAGES
        for number, block in enumerate(
            re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL), start=1
        )
    ]


@pytest.mark.slow
@pytest.mark.parametrize("block", _blocks("python"))
def test_python_code_runs(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    load_digits = affinity.load_digits

    def load_briefly(**options):
        digits = load_digits(**options)
        return digits.with_settings(replace(digits.settings, epochs=3))

    monkeypatch.setattr(affinity, "load_digits", load_briefly)
    with warnings.catch_warnings():
        for library in ("lightning", "transformers"):
            if f"affinity.integrations.{library}" in block:
                pytest.importorskip(library)
                warnings.simplefilter("ignore")  # they warn of much else
        exec(compile(block, "page", "exec"), {"__name__": "page"})
    if "report.html" in block:
        assert (tmp_path / "run" / "report.html").stat().st_size > 10_000


@pytest.mark.parametrize("block", _blocks("bash"))
def test_commands_and_options_exist(block):
    from affinity.cli.main import make_app

    lines = [line.partition(" # ")[0] for line in block.replace("\\\n", " ").splitlines()]
    commands = [
        line.split("bin/affinity " if "bin/affinity " in line else "affinity ", 1)[1]
        for line in lines
        if line.startswith("affinity ") or "bin/affinity " in line
    ]
    app = make_app()
    app.config = ()  # no defaults from runs and files, which are not there
    for command in commands:
        app.parse_args(shlex.split(command), exit_on_error=False, print_error=False)


def test_the_first_page_is_short():
    assert len((ROOT / "README.md").read_text()) <= 8_000


def test_links_between_pages_lead_somewhere():
    for page in PAGES:
        text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", text):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_importing_affinity_stays_light():
    code = "import affinity, sys; print([m for m in ('matplotlib', 'seaborn') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert found.stdout.strip() == "[]", found.stderr


@pytest.mark.slow
def test_the_site_builds_without_warnings(tmp_path):
    pytest.importorskip("sphinx")
    command = [ROOT / "scripts" / "docs", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    pages = "".join(page.read_text("utf-8") for page in (tmp_path / "reference").glob("*.html"))
    assert [name for name in affinity.__all__ if f'.{name}">' not in pages] == []
    assert "--targets" in (tmp_path / "reference" / "command-line.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_tutorial_makes_its_page_and_pictures(tmp_path):
    command = [ROOT / "scripts" / "tutorial", "--quick", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    for name in ("gains.png", "heatmap.png", "report.html", "audit.json", "plan.yaml"):
        assert (tmp_path / name).stat().st_size > 0


def test_the_pictures_of_the_readme_are_there():
    shown = re.findall(r"!\[.*?\]\((\S+?)\)", (ROOT / "README.md").read_text())
    assert shown
    assert all((ROOT / name).is_file() for name in shown)


@pytest.mark.slow
def test_the_workflow_runs(tmp_path):
    page = (ROOT / "docs" / "stages.md").read_text()
    block = re.search(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert block is not None
    steps = yaml.safe_load(block[1])["jobs"]["audit"]["steps"]
    lines = [step["run"] for step in steps if "run" in step]
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "pip").write_text('#!/bin/sh\ntest "$1" = install\n')  # it is installed here
    (tools / "affinity").write_text(
        f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m affinity "$@"\n'
    )
    for tool in tools.iterdir():
        tool.chmod(0o755)
    random = np.random.default_rng(0)
    rows = pd.DataFrame(random.normal(size=(150, 3)), columns=["age", "hour", "price"])
    for name in ("click", "buy", "stay"):
        rows[name] = (rows["price"] + random.normal(size=150) > 0).astype(int)
    rows.to_csv(tmp_path / "visits.csv", index=False)
    (tmp_path / "plan.yaml").write_text(
        "version: 1\nnetworks:\n- serves: [click, buy]\n- serves: [stay]\n"
    )
    path = f"{tools}{os.pathsep}{ENVIRONMENT['PATH']}"
    codes = [
        subprocess.run(
            ["bash", "-e", "-c", line], cwd=tmp_path, env={**ENVIRONMENT, "PATH": path}
        ).returncode
        for line in lines
    ]
    suite = Xml.parse(tmp_path / "audit.xml").getroot()
    assert suite.get("tests") == "3"
    assert codes == [0, 3 if int(suite.get("failures")) else 0]
    assert (tmp_path / "run" / "report.html").exists()
