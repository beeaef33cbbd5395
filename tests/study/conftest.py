"""Pages of studies are tested in `tests/report`."""

import pytest


@pytest.fixture(autouse=True)
def blank(blank_pictures: None) -> None: ...
