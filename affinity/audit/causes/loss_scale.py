"""Loss scale: the loss of the best constant prediction, which makes losses comparable."""

from affinity.problems import Problem
from affinity.training.reference import constant_loss


def by_loss_scale(problem: Problem) -> dict[str, float]:
    """A weight for each task, proportional to 1 / loss scale; the mean weight is 1.

    Example:
        >>> from affinity.problems import load_digits
        >>> weights = by_loss_scale(load_digits())
        >>> weights["ink"] < weights["prime"]  # a variance of 1, an entropy of 0.67
        True
    """
    rows = problem.development
    scales = {
        task.name: constant_loss(task, rows, rows, column)
        for column, task in enumerate(problem.tasks)
    }
    mean = sum(1 / scale for scale in scales.values()) / len(scales)
    return {name: 1 / scale / mean for name, scale in scales.items()}
