"""Prudence: a grouping by predictions has to gain enough over what is safe."""

from affinity.estimates import GroupScores

from .grouping import Grouping, Network


def prefer_simple(
    scores: GroupScores, best: Grouping, budget: int, tolerance: float = 0.01
) -> Grouping:
    """All-in-one or separate networks, unless the best grouping gains more than they do.

    The best of very many groupings looks better than it is. So one network for all tasks takes its
    place where, by the same scores, it falls short by at most `tolerance` of mean gain; else
    separate networks where they do, and the budget has room for them.

    Args:
        scores: Predicted gains of the best grouping's networks, of all tasks together and, where
            separate networks are within the budget, of each task alone.
        best: The grouping with the highest score.
        budget: At most so many networks.
        tolerance: Differences of mean gain up to this are of no interest.

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
    values = {each.trained: sum(each.scores.values()) for each in scores.candidates}

    def gain(grouping: Grouping) -> float:
        return sum(values[each.trained] for each in grouping.networks) / len(scores.tasks)

    safe = [Grouping((Network.of(*scores.tasks),))]
    if budget >= len(scores.tasks):
        safe.append(Grouping(tuple(Network.of(task) for task in scores.tasks)))
    enough = gain(best) - tolerance
    return next((each for each in safe if gain(each) >= enough), best)
