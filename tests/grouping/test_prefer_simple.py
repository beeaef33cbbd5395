"""A grouping by predictions takes the place of a safe choice only where it gains enough."""

from itertools import combinations

import pytest

from affinity.grouping import CandidateGroup, Grouping, GroupScores, prefer_simple, solve

TASKS = ("a", "b", "c")


def scores_of(**gains: float) -> GroupScores:
    """Mean gains by the group's letters; 0 where a group is not named."""
    groups = [group for size in (1, 2, 3) for group in combinations(TASKS, size)]
    return GroupScores(
        TASKS,
        tuple(
            CandidateGroup(dict.fromkeys(group, gains.get("".join(group), 0.0))) for group in groups
        ),
    )


def groups(grouping: Grouping) -> list[str]:
    return sorted("".join(sorted(network.trained)) for network in grouping.networks)


@pytest.mark.parametrize(
    ("gains", "budget", "chosen"),
    [
        ({"ab": 0.3}, 3, ["ab", "c"]),  # 0.2 more than anything safe
        ({"ab": 0.3, "abc": 0.195}, 3, ["abc"]),
        ({"ab": 0.012}, 3, ["abc"]),  # 0.008 more
        ({"ab": 0.012, "abc": -0.2}, 3, ["a", "b", "c"]),
        ({"ab": 0.012, "abc": -0.2}, 2, ["ab", "c"]),  # no room for three
        ({"ab": -0.3, "ac": -0.3, "bc": -0.3, "abc": -0.4}, 2, ["ab", "c"]),
    ],
)
def test_a_grouping_has_to_gain_more_than_what_is_safe(
    gains: dict[str, float], budget: int, chosen: list[str]
) -> None:
    scores = scores_of(**gains)
    assert groups(prefer_simple(scores, solve(scores, budget), budget)) == chosen


def test_without_a_tolerance_the_best_stands() -> None:
    scores = scores_of(ab=0.012)
    assert groups(prefer_simple(scores, solve(scores, 3), 3, tolerance=0.0)) == ["ab", "c"]
