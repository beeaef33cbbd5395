"""ANIL: MAML whose inner loop moves the head alone."""

from dataclasses import dataclass

from .learned import Initialization
from .maml import check_inner_steps, learn_initialization
from .network import is_of_head
from .problem import FewShotProblem


@dataclass(frozen=True)
class ANIL:
    """Almost no inner loop: the trunk is learned over tasks and stays as it is within each.

    As good as MAML where the representation is what counts, and worse where the trunk itself has
    to change with the task. An iteration costs little more than two backward passes.

    Args:
        inner_steps: Gradient steps in meta-training.

    References:
        Raghu et al. (2020), `Rapid Learning or Feature Reuse?
        <https://arxiv.org/abs/1909.09157>`_, section 4.
    """

    inner_steps: int = 3

    def __post_init__(self) -> None:
        check_inner_steps(self.inner_steps, least=1)

    def __call__(self, problem: FewShotProblem, seed: int = 0) -> Initialization:
        """Learn trunk and head."""
        return learn_initialization(problem, seed, "ANIL", self.inner_steps, is_of_head)
