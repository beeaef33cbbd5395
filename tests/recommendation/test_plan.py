"""A plan says how to share and why, survives its YAML, and refuses what is not a plan."""

import pytest
import torch
from codes import raises

from affinity import AffinityMatrix, Grouping, Network, Plan, recommend
from affinity.recommendation import PlanProvenance

TASKS = ("depth", "edges", "keypoints")


@pytest.fixture
def plan():
    matrix = AffinityMatrix(
        tasks=TASKS,
        values=torch.tensor([[0.0, 0.5, -0.5], [0.25, 0.0, -0.5], [-0.5, 0.125, 0.0]]),
        standard_error=torch.full((3, 3), 0.1),
    )
    groups = (Network.of("depth", "edges"), Network.of("keypoints"))
    return recommend(matrix, Grouping(groups, score=0.75, bound=0.75, solver="exact"))


def test_groups_share_hard_and_lone_tasks_are_separate(plan):
    assert plan.sharing == ("hard", "separate")
    together, alone = plan.reasons
    assert "Mean affinity +0.375 over 2 directed pairs" in together
    assert "from +0.25 (edges onto depth) to +0.5 (depth onto edges)" in together
    assert "no task is estimated to help it" in alone


def test_reasons_say_what_is_within_noise():
    matrix = AffinityMatrix(
        tasks=("a", "b"),
        values=torch.tensor([[0.0, 0.5], [0.1, 0.0]]),
        standard_error=torch.full((2, 2), 0.1),
    )
    plan = recommend(matrix, Grouping((Network.of("a", "b"),)))
    assert "1 of them within two standard errors of 0" in plan.reasons[0]


@pytest.mark.parametrize(
    "names", [TASKS, ("a: b", "- c", "'q\"\n", "é☃", "yes"), ("1", "2", "null")]
)
def test_a_plan_survives_its_yaml(names, tmp_path):
    first, *others = names
    helped = Network(trained=frozenset(names), served=frozenset(others))
    plan = Plan(
        Grouping((Network.of(first), helped), score=0.1, bound=0.30000000000000004, solver="x"),
        ("separate", "hard"),
        ("On its own: #1.", "Helped\nby all."),
        PlanProvenance("x", expected_gain=(0.1, -0.1, 0.2), budget=2),
    )
    again = Plan.from_yaml(plan.to_yaml())
    assert again == plan
    assert again.provenance == plan.provenance
    plan.to_yaml(tmp_path / "plan.yaml")
    assert Plan.from_yaml(tmp_path / "plan.yaml", tasks=names) == plan


BAD_YAML = {
    "version: 1": ("invalid-plan", None),
    "version: [": ("invalid-yaml", 1),
    "version: 2\nnetworks: []": ("unknown-version", None),
    "version: 1\nwidth: wide\nnetworks: []": ("invalid-plan", None),
    "version: 1\nnetworks: []\nprovenance: {budget: two}": ("invalid-plan", None),
    "version: 1\nnetworks: [{serves: depth}]": ("invalid-plan", 2),
    "version: 1\nnetworks:\n- serves: [a]\n- serves: [a]": ("invalid-plan", 4),
    "version: 1\nnetworks:\n- serves: [a]\n  also_trains: [b]": ("invalid-plan", 4),
    "version: 1\nnetworks:\n- also_trains: [b]": ("invalid-plan", 3),
    "version: 1\nnetworks:\n- serves: [a, b]\n  sharing: welded": ("invalid-plan", 4),
    "version: 1\nnetworks:\n- serves: [a]\n  sharing: hard": ("invalid-plan", 4),
    "version: 1\nnetworks:\n- server: [a]": ("invalid-plan", 3),
    "version: 1\nnetworks:\n- serves:\n  - a\n  - 7": ("invalid-plan", 5),
    "version: 1\nnetworks:\n- a": ("invalid-plan", 3),
}


@pytest.mark.parametrize("text", BAD_YAML)
def test_a_text_that_is_no_plan_is_refused_with_its_line(text):
    code, line = BAD_YAML[text]
    with raises(code) as caught:
        Plan.from_yaml(text)
    assert line is None or f"line {line}" in str(caught.value)


def test_every_mistake_in_an_edited_plan_is_named_at_once():
    text = "version: 1\nnetworks:\n- serves: [depht]\n- serves: [edges, edges]\n  sharin: hard"
    with raises("invalid-plan") as caught:
        Plan.from_yaml(text, tasks=TASKS)
    for what in ("line 3: 'depht'", "'depth'?", "line 4: 'edges'", "line 5: 'sharin'", "keypoints"):
        assert what in str(caught.value)


def test_a_plan_must_serve_the_tasks_at_hand(plan, tmp_path):
    plan.to_yaml(tmp_path / "plan.yaml")
    for tasks, named in (((*TASKS, "normals"), "normals"), (TASKS[:2], "'keypoints'")):
        with raises("invalid-plan") as caught:
            Plan.from_yaml(tmp_path / "plan.yaml", tasks=tasks)
        assert named in str(caught.value)
    with raises("unreadable-file"):
        Plan.from_yaml(tmp_path / "other.yaml")


def test_a_plan_has_one_entry_per_network_and_lone_tasks_are_separate():
    lone = Grouping((Network.of("depth"),))
    for sharing, reasons in ((("hard",), ("",)), ((), ("",)), (("separate",), ())):
        with raises("invalid-plan"):
            Plan(lone, sharing, reasons)
    with raises("invalid-width"):
        Plan(lone, ("separate",), ("",), width=0)
