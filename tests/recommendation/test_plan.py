"""A plan says how to share and why, survives its YAML, and refuses what is not a plan."""

import pytest
import torch

from affinity import AffinityMatrix, Grouping, InputError, Network, Plan, recommend

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
        {"seed": 3},
    )
    again = Plan.from_yaml(plan.to_yaml())
    assert again == plan
    assert again.provenance == {"seed": 3}
    plan.to_yaml(tmp_path / "plan.yaml")
    assert Plan.from_yaml(tmp_path / "plan.yaml", tasks=names) == plan


BAD_YAML = {
    "a list of 'networks'": "version: 1",
    "Expected YAML": "version: [",
    "of version 1, but got 2": "version: 2\nnetworks: []",
    "line 2: 'serves' takes a list": "version: 1\nnetworks: [{serves: depth}]",
    "line 4: 'a' is served twice": "version: 1\nnetworks:\n- serves: [a]\n- serves: [a]",
    "line 4: 'b' is trained and never": "version: 1\nnetworks:\n- serves: [a]\n  also_trains: [b]",
    "line 3: the network serves no task": "version: 1\nnetworks:\n- also_trains: [b]",
    "line 4: tasks share in .* not 'welded'": (
        "version: 1\nnetworks:\n- serves: [a, b]\n  sharing: welded"
    ),
    "line 4: a network of one task is 'separate'": (
        "version: 1\nnetworks:\n- serves: [a]\n  sharing: hard"
    ),
    "line 3: 'server' is unknown; did you mean 'serves'": "version: 1\nnetworks:\n- server: [a]",
    "line 5: a task name is text .quote it., not 7": (
        "version: 1\nnetworks:\n- serves:\n  - a\n  - 7"
    ),
    "line 3: a network is .* not 'a'": "version: 1\nnetworks:\n- a",
}


@pytest.mark.parametrize("message", BAD_YAML)
def test_a_text_that_is_no_plan_is_explained(message):
    with pytest.raises(InputError, match=message):
        Plan.from_yaml(BAD_YAML[message])


def test_everything_wrong_with_an_edited_plan_is_said_at_once():
    text = "version: 1\nnetworks:\n- serves: [depht]\n- serves: [edges, edges]\n  sharin: hard"
    with pytest.raises(InputError) as caught:
        Plan.from_yaml(text, tasks=TASKS)
    for what in (
        "line 3: 'depht' is not a task; did you mean 'depth'?",
        "line 4: 'edges' is served twice",
        "line 5: 'sharin' is unknown; did you mean 'sharing'?",
        "leaves out ['depth', 'keypoints']",
    ):
        assert what in str(caught.value)


def test_a_plan_must_serve_the_tasks_at_hand(plan, tmp_path):
    plan.to_yaml(tmp_path / "plan.yaml")
    with pytest.raises(InputError, match=r"leaves out \['normals'\]"):
        Plan.from_yaml(tmp_path / "plan.yaml", tasks=(*TASKS, "normals"))
    with pytest.raises(InputError, match=r"line \d+: 'keypoints' is not a task; there are"):
        Plan.from_yaml(tmp_path / "plan.yaml", tasks=TASKS[:2])
    with pytest.raises(InputError, match="No such file"):
        Plan.from_yaml(tmp_path / "other.yaml")
