"""Results that others measured are reproduced."""

import runpy
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[2]
DATA = ROOT / "../shared/data/published"
pytestmark = pytest.mark.skipif(not DATA.exists(), reason=f"no published tables in {DATA}")


@pytest.mark.parametrize("name", ["standley2020", "tag2021", "mtgnet2022"])
def test_the_committed_table_is_what_the_script_makes(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    made = runpy.run_path(f"scripts/comparisons/{name}.py")["compare"]()
    committed = pd.read_csv(f"reports/published/{name}.csv", dtype=str, keep_default_na=False)
    pd.testing.assert_frame_equal(made.astype(str), committed, check_dtype=False)
    if name != "mtgnet2022":
        assert (committed["same"] == "True").all()
