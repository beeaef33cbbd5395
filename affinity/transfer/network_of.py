"""A network of one task in a given state, ready to be looked into."""

from collections.abc import Mapping

from torch import Tensor

from affinity.problems import Problem
from affinity.sharing import HardSharing
from affinity.training import initial


def network_of(
    problem: Problem, state: Mapping[str, Tensor], task: str | None = None, seed: int = 0
) -> HardSharing:
    """The network in evaluation mode; what `state` leaves out starts afresh.

    Args:
        problem: Tasks, trunk and heads.
        state: Parameters and buffers by name, as the network has them; the trunk alone will do.
        task: Whose head it has; that of the first task if None.
        seed: Of what starts afresh.
    """
    own = [each for each in problem.tasks if task in (None, each.name)][:1]
    network = initial(problem.network, own, seed)
    assert isinstance(network, HardSharing)
    network.load_state_dict({**network.state_dict(), **state})
    return network.eval()
