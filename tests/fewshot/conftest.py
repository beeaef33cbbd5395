"""Baselines that choose among few settings, except in slow tests."""

import pytest


@pytest.fixture(autouse=True)
def quick(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("slow") is None:
        request.getfixturevalue("quick_baselines")
