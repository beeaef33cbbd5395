"""Merging models or adapters that start from the same parameters."""

import pytest
import torch
from codes import raises

from affinity.transfer import merge_adapters


def state(value, **more):
    return {"lora_a": torch.full((2,), value), "steps": torch.tensor(3), **more}


@pytest.mark.parametrize(("weight", "expected"), [(None, 3.0), (1.0, 5.0), (0.0, 1.0)])
def test_changes_are_averaged_or_added(weight, expected):
    merged = merge_adapters({"a": state(2.0), "b": state(4.0)}, state(1.0), weight)
    assert merged["lora_a"].tolist() == pytest.approx([expected] * 2)
    assert merged["steps"].item() == 3


def test_adapters_with_other_names_or_shapes_are_refused():
    with raises("different-parameters") as info:
        merge_adapters(
            {"a": state(2.0), "b": state(2.0, **{"base.lora_a": torch.ones(2)})}, state(1.0)
        )
    assert "base.lora_a" in str(info.value)
    with raises("different-parameters"):
        merge_adapters({"a": {**state(2.0), "lora_a": torch.ones(3)}}, state(1.0))
    with raises("no-tasks"):
        merge_adapters({}, state(1.0))
