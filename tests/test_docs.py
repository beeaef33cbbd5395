"""The pages of the docstrings, the tutorial, and the workflow of the README."""

import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as Xml

import numpy as np
import pandas as pd
import pytest
import yaml

ROOT = Path(__file__).parents[1]
ENVIRONMENT = {
    **os.environ,
    "OMP_NUM_THREADS": "1",
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
}


@pytest.mark.slow
def test_the_pages_of_the_docstrings_are_written(tmp_path):
    pytest.importorskip("pdoc")
    command = [ROOT / "scripts" / "docs", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "affinity.html").read_text(encoding="utf-8")
    assert all(name in page for name in ("Recorder", "AffinityMatrix", "solve"))
    assert (tmp_path / "affinity" / "estimates.html").exists()


@pytest.mark.slow
def test_the_tutorial_makes_the_pictures_of_the_readme(tmp_path):
    command = [ROOT / "scripts" / "tutorial", "--quick", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    assert "Advice:" in done.stdout
    shown = re.findall(r"\(reports/tutorial/(\S+?)\)", (ROOT / "README.md").read_text())
    assert shown
    for name in (*shown, "report.html", "audit.json", "plan.yaml"):
        assert (tmp_path / name).stat().st_size > 0
    assert all((ROOT / "reports" / "tutorial" / name).exists() for name in shown)


def test_the_workflow_of_the_readme_runs(tmp_path):
    block = re.search(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
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
    rows = pd.DataFrame(random.normal(size=(300, 3)), columns=["age", "hour", "price"])
    for name in ("click", "buy", "stay"):
        rows[name] = (rows["price"] + random.normal(size=300) > 0).astype(int)
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
