"""Outer draws: what a procedure gains over draws of the test rows."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from codes import raises
from scipy import stats

from affinity import Audit, Gains, Plan
from affinity.audit import EvaluatedPlan, RepeatedHoldout, TaskDescription

TASKS = tuple(TaskDescription(name, "SquaredError", "SquaredError") for name in ("a", "b"))
NAMES = ("a", "b")


def audit_of(gain: float, advised: float = 0.0) -> Audit:
    """The plan has this gain on both tasks; one network for all gains as advised."""

    def arrangement(plan: Plan, share: float) -> EvaluatedPlan:
        base = torch.linspace(0.9, 1.1, 4, dtype=torch.double)[:, None].repeat(1, 2)
        gains = Gains(NAMES, base * (1 - share), base)
        return EvaluatedPlan(plan, gains, gains, gains, parameters=10, seconds=1.0)

    separate, together = Plan.separate(NAMES), Plan.all_in_one(NAMES)
    return Audit(
        problem="made up",
        tasks=TASKS,
        plan=separate,
        candidates={
            "plan": arrangement(separate, gain),
            "separate": arrangement(separate, 0.0),
            "all-in-one": arrangement(together, advised),
        },
    )


def draws_of(*gains: float, share: float = 0.25, advised: float = 0.0) -> RepeatedHoldout:
    return RepeatedHoldout(tuple(audit_of(gain, advised) for gain in gains), share)


def test_the_interval_leaves_room_for_the_rows_that_draws_have_in_common():
    gains = np.array([0.1, 0.2, 0.15, 0.3, 0.25])
    found = draws_of(*gains).overall()
    (low,), (high,) = found.interval()
    reach = stats.t.ppf(0.975, 4) * np.sqrt((1 / 5 + 1 / 3) * gains.var(ddof=1))
    assert [low, high] == pytest.approx([gains.mean() - reach, gains.mean() + reach])


def test_more_draws_of_few_rows_never_make_it_certain():
    few, many = draws_of(*[0.1, 0.3] * 3).overall(), draws_of(*[0.1, 0.3] * 30).overall()
    assert many.error[0] > 0.7 * few.error[0]


def test_the_procedure_is_judged_as_planned_and_as_advised():
    found = draws_of(-0.2, -0.21, -0.19, -0.2, advised=0.1)
    assert found.verdict("plan") == "harmful"
    assert found.verdict("advice") == "beneficial"
    assert found.frame()["advice"].tolist() == ["all-in-one"] * 4
    np.testing.assert_allclose(found.gains("advice"), 0.1)
    assert draws_of(0.001, 0.0, -0.001, 0.0).verdict() == "neutral"
    assert draws_of(0.3, -0.2, 0.1).verdict() == "undecided"


def test_one_draw_says_nothing_of_others():
    found = draws_of(0.3)
    assert found.verdict() == "undecided"
    facts = json.loads(found.to_json())
    assert facts["as_plan"]["low"] is None
    assert facts["as_plan"]["tasks"][0]["name"] == "a"


def test_what_is_written_has_every_draw(tmp_path):
    found = draws_of(0.1, 0.2)
    found.to_json(tmp_path / "outer.json")
    facts = json.loads((tmp_path / "outer.json").read_text())
    assert [split["gain"] for split in facts["splits"]] == pytest.approx([0.1, 0.2])
    assert facts["splits"][0]["plan"] == [["a"], ["b"]]
    assert facts["as_plan"]["gain"] == pytest.approx(0.15)
    assert facts["plans"] == [{"networks": [["a"], ["b"]], "times": 2}]
    assert sum(each["times"] for each in facts["advices"]) == 2


def test_draws_must_be_of_the_same_tasks():
    other = replace(
        audit_of(0.1), tasks=(TASKS[0], TaskDescription("c", "SquaredError", "SquaredError"))
    )
    with raises("different-tasks"):
        RepeatedHoldout((audit_of(0.1), other), 0.25)
    with raises("different-tasks"):
        RepeatedHoldout((), 0.25)
    with raises("invalid-share"):
        draws_of(0.1, share=0.0)
