"""What the gains of an audit are, in words: losses of our networks, or scores of any training."""

from affinity.audit import Audit


def describe_gains(audit: Audit) -> str:
    """What a gain of one task is, as the start of a sentence."""
    if is_of_losses(audit):
        return "Relative reduction in test loss compared with a separate network"
    units = set(audit.gains.units)
    what = {
        frozenset({"relative"}): "Relative improvement of the test score",
        frozenset({"difference"}): "Difference of test scores",
    }.get(frozenset(units), "Improvement of the test score, relative (%) or as a difference,")
    return f"{what} compared with a separate network, above 0 where it is better"


def is_of_losses(audit: Audit) -> bool:
    """Whether all gains are relative reductions of a loss."""
    scores = audit.gains.score_of.values()
    return all(score.direction == "minimize" and score.is_relative for score in scores)
