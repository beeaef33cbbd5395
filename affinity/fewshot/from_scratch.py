"""From scratch: a fresh network, and the support rows of the task alone."""

from dataclasses import dataclass

from .learned import Initialization
from .problem import FewShotProblem


@dataclass(frozen=True)
class FromScratch:
    """Gradient steps from random parameters: what a task is worth without any other."""

    def __call__(self, problem: FewShotProblem, seed: int = 0) -> Initialization:
        """Nothing is learned but the step size."""
        network = problem.network(seed)
        start = Initialization(network, network.tensors(), problem.task, problem.inner_rate)
        return start.with_chosen_rate(problem, seed)
