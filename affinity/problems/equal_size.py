"""Equal size: networks that share in different ways, of as many parameters as a hard-shared one."""

import torch

from affinity.sharing import SHARINGS, Sharing, match_parameters

from .problem import Problem


def at_equal_size(problem: Problem, tasks: frozenset[str], sharing: str) -> Problem:
    """The problem at the width at which tasks that share so cost what hard sharing costs.

    A mixture of experts has several trunks, soft sharing and cross-stitch one a task: at the width
    of hard sharing they would win by their size alone.

    Args:
        problem: Its own width is that of hard sharing.
        tasks: Those of the network.
        sharing: A name in `SHARINGS`.

    Raises:
        InputError: If the problem cannot be made at other widths, or even trunks of width 1 cost
            more than twice as much.

    Example:
        >>> from affinity.problems import load_digits
        >>> narrow = at_equal_size(load_digits(), frozenset({"odd", "ink"}), "soft")
        >>> narrow.width  # 2 x (65 x 19 + 20 x 19 + 20) = 3270, to 65 x 32 + 33 x 32 + 66 = 3202
        19
    """
    own = tuple(task for task in problem.tasks if task.name in tasks)
    sample = problem.development.inputs[:2]

    def network(sharing: str, at: Problem) -> Sharing:
        with torch.random.fork_rng():
            return SHARINGS[sharing](own, at.trunk, at.head, sample)

    budget = sum(parameter.numel() for parameter in network("hard", problem).parameters())
    width = match_parameters(lambda width: network(sharing, problem.of_width(width)), budget)
    return problem.of_width(width)
