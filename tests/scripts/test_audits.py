"""The READMEs of the committed audits agree with their files."""

import json
from pathlib import Path

import pytest

AUDITS = Path(__file__).parents[2] / "reports/audits"
FOLDERS = sorted(file.parent for file in AUDITS.glob("*/audit.json"))


def forms(gain: float) -> set[str]:
    """How a text may write a share: to the percent or its tenth, as a gain or as an increase."""
    return {f"{abs(100 * gain):.0f} %", f"{abs(100 * gain):.1f} %"}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_text_of_an_audit_tells_what_one_network_for_all_gained(folder: Path) -> None:
    summary = json.loads((folder / "audit.json").read_text())
    candidates = summary["arrangements" if summary["schema_version"] == 1 else "candidates"]
    gain = candidates["all-in-one"]["gain"]
    text = (folder / "README.md").read_text()
    for value in (gain["mean"], gain["low"], gain["high"]):
        assert any(form in text for form in forms(value)), (folder.name, value)


@pytest.mark.parametrize("file", sorted(AUDITS.glob("*/outer.json")), ids=lambda f: f.parent.name)
def test_the_table_of_draws_tells_what_they_gained(file: Path) -> None:
    found = json.loads(file.read_text())
    (row,) = (
        line
        for line in (AUDITS / "README.md").read_text().splitlines()
        if line.startswith(f"| {file.parent.name} |")
    )
    for part in (found["draws"][0], found["as_plan"]):
        ends = f"({100 * part['low']:.1f} to {100 * part['high']:.1f})"
        assert f"{100 * part['gain']:.1f} % {ends}, {part['verdict']}" in row
    assert f"{100 * found['as_advice']['gain']:.1f} %" in row
    assert f"{found['plans'][0]['times']} of {len(found['draws'])}" in row
