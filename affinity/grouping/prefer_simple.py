"""Prefer simple: use a simple grouping unless the best one gains clearly more."""

from collections.abc import Callable, Sequence

from affinity.estimates import GroupScores

from .grouping import Grouping, Network


def safest(
    groupings: Sequence[Grouping], mean_gain: Callable[[Grouping], float], tolerance: float
) -> Grouping:
    """The grouping with the fewest networks among those within the tolerance of the best one.

    Args:
        groupings: Simple groupings, such as all-in-one and separate networks.
        mean_gain: The mean gain of a grouping over the tasks.
        tolerance: Differences of mean gain up to this are ignored.

    Example:
        >>> apart = Grouping((Network.of("a"), Network.of("b")))
        >>> together = Grouping((Network.of("a", "b"),))
        >>> gains = {apart: 0.01, together: 0.005}
        >>> safest([apart, together], gains.__getitem__, 0.01) is together
        True
    """
    enough = max(map(mean_gain, groupings)) - tolerance
    return min(
        (grouping for grouping in groupings if mean_gain(grouping) >= enough),
        key=lambda grouping: len(grouping.networks),
    )


def prefer_simple(
    scores: GroupScores, best: Grouping, budget: int, tolerance: float = 0.01
) -> Grouping:
    """All-in-one or separate networks, unless the best grouping gains clearly more.

    The best of very many groupings looks better than it is (selection bias). Therefore the safer
    choice replaces it if, by the same scores, its mean gain is lower by at most `tolerance`. The
    safer choice is the better of all-in-one and, if the budget allows them, separate networks; or
    all-in-one if they differ by no more than `tolerance`. A race makes the same safer choice.

    Args:
        scores: Predicted gains of the best grouping's networks, of all tasks together and, where
            the budget allows separate networks, of each task alone.
        tolerance: Differences of mean gain up to this are ignored.

    Example:
        >>> from affinity.estimates import CandidateGroup
        >>> alone = [CandidateGroup({name: 0.0}) for name in "abc"]
        >>> gains = {"a": 0.3, "b": 0.3}, {"a": 0.2, "b": 0.2, "c": 0.19}
        >>> groups = [CandidateGroup(gain) for gain in gains]
        >>> scores = GroupScores(("a", "b", "c"), (*alone, *groups))
        >>> best = Grouping((Network.of("a", "b"), Network.of("c")))
        >>> len(prefer_simple(scores, best, budget=3).networks)  # 0.2 against 0.197 for one network
        1
    """
    totals = {group.trained: sum(group.scores.values()) for group in scores.candidates}

    def mean_gain(grouping: Grouping) -> float:
        return sum(totals[net.trained] for net in grouping.networks) / len(scores.tasks)

    simple = [Grouping((Network.of(*scores.tasks),))]
    if budget >= len(scores.tasks):
        simple.append(Grouping(tuple(Network.of(task) for task in scores.tasks)))
    safe = safest(simple, mean_gain, tolerance)
    return safe if mean_gain(safe) >= mean_gain(best) - tolerance else best
