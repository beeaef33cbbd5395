"""First-order MAML: the query gradient at the adapted parameters, applied to the initialization."""

from dataclasses import dataclass

from .learned import Initialization
from .maml import check_inner_steps, learn_initialization
from .problem import FewShotProblem


@dataclass(frozen=True)
class FirstOrderMAML:
    r"""MAML without second derivatives: the adaptation counts as a constant shift.

    .. math::
        \theta \leftarrow \theta - \beta \sum_i \nabla_{\phi_i} L_i(\phi_i, D_i^{\text{query}})

    An iteration costs about ``inner_steps + 1`` backward passes.

    Args:
        inner_steps: Gradient steps in meta-training.

    References:
        Finn et al. (2017), `Model-Agnostic Meta-Learning <https://arxiv.org/abs/1703.03400>`_,
        section 5.2.
    """

    inner_steps: int = 3

    def __post_init__(self) -> None:
        check_inner_steps(self.inner_steps, least=1)

    def __call__(self, problem: FewShotProblem, seed: int = 0) -> Initialization:
        """Learn the initialization."""
        return learn_initialization(
            problem, seed, "first-order MAML", self.inner_steps, is_first_order=True
        )
