"""What the README shows runs as it stands."""

import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BLOCKS = [
    block
    for name in ("README.md", "CONTRIBUTING.md")
    for block in re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(), re.DOTALL)
]


@pytest.mark.slow
@pytest.mark.parametrize("block", BLOCKS, ids=[f"block {at}" for at in range(len(BLOCKS))])
def test_the_code_of_the_readme_runs(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        for library in ("lightning", "transformers"):
            if f"affinity.integrations.{library}" in block:
                pytest.importorskip(library)
                warnings.simplefilter("ignore")  # they warn of much else
        exec(compile(block, "README.md", "exec"), {"__name__": "readme"})
    if "report.html" in block:
        assert (tmp_path / "run" / "report.html").stat().st_size > 10_000


def test_importing_affinity_stays_light():
    code = "import affinity, sys; print([m for m in ('matplotlib', 'seaborn') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert found.stdout.strip() == "[]", found.stderr
