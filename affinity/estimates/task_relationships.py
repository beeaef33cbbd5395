"""Task relationships: how the heads of tasks covary, learned by a relationship network."""

from dataclasses import dataclass

import torch

from affinity.errors import check_number
from affinity.problems import Problem
from affinity.sharing import RelationshipNetwork
from affinity.training import initial, train

from .matrix import AffinityMatrix
from .over_runs import combine


@dataclass(frozen=True)
class TaskRelationships:
    r"""Correlation of tasks in the prior of a relationship network's heads.

    .. math::
        A_{ij} = \frac{\Sigma_{ij}}{\sqrt{\Sigma_{ii} \Sigma_{jj}}}

    with the covariance over tasks :math:`\Sigma` that `RelationshipNetwork` learns while it is
    trained. 1: the tasks read the representation in the same way; -1: with opposite signs; 0: in
    unrelated ways. Symmetric. NaN between tasks whose heads have different shapes. It needs one
    training of all tasks per run.

    Args:
        runs: Number of trainings, each with its own split and initialization; the spread of
            several gives the standard error.
        strength: Of the prior.

    Raises:
        InputError: If `runs` is below 1.

    References:
        Long et al. (2017), `Learning Multiple Tasks with Multilinear Relationship Networks
        <https://arxiv.org/abs/1506.02117>`_, section 4.3.

    Example:
        >>> from affinity.problems import planted
        >>> from affinity.training import TrainingSettings
        >>> problem = planted(n_rows=60).with_settings(TrainingSettings(epochs=2))
        >>> TaskRelationships()(problem).between("a1", "a1")
        1.0
    """

    runs: int = 1
    strength: float = 0.1

    def __post_init__(self) -> None:
        check_number("runs", self.runs, least=1)

    def __call__(self, problem: Problem, seed: int = 0) -> AffinityMatrix:
        """Train on replicates of the problem from this seed on, and read the correlations."""
        seeds = problem.replicate_seeds(self.runs, seed)
        matrices = [self._of_run(problem, each) for each in seeds]
        return combine(matrices) if len(matrices) > 1 else matrices[0]

    def _of_run(self, problem: Problem, seed: int) -> AffinityMatrix:
        network = initial(
            lambda tasks: RelationshipNetwork(tasks, problem.trunk, problem.head, self.strength),
            problem.tasks,
            seed,
        )
        train(network, problem.tasks, problem.replicate(seed), problem.settings)
        assert isinstance(network, RelationshipNetwork)
        return AffinityMatrix(
            problem.names, network.task_correlations().to(torch.double), estimator=str(self)
        )
