"""Feature distortion: how far tuning moves a representation, on familiar and on shifted rows."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from affinity.estimates import RepresentationSimilarity


@dataclass(frozen=True)
class Distortion:
    r"""What tuning did to the representation of some rows.

    Args:
        drift: Mean distance of a row's representation from where the source had it, over the mean
            length there: :math:`\sum_x \lVert f'(x) - f(x) \rVert / \sum_x \lVert f(x) \rVert`. 0
            says that nothing moved.
        similarity: Linear centred kernel alignment of the two; 1 says that they are the same up to
            rotation and one scale, which a new head makes up for.
    """

    drift: float
    similarity: float


def distortion(
    before: nn.Module, after: nn.Module, inputs: Float[Tensor, "row *feature"]
) -> Distortion:
    """How far `after` is from `before` on these rows, in evaluation mode.

    Where it is larger on familiar rows than on shifted ones, the head that fits the former no
    longer fits the latter: how fine-tuning loses outside of its rows (Kumar et al. 2022).

    Args:
        before: The source's trunk.
        after: The trunk after tuning.
        inputs: Rows.

    References:
        Kumar et al. (2022), `Fine-Tuning can Distort Pretrained Features and Underperform
        Out-of-Distribution <https://arxiv.org/abs/2202.10054>`_, section 3; Kornblith et al.
        (2019) for the similarity, see `affinity.estimates.RepresentationSimilarity`.

    Example:
        >>> trunk, twice = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
        >>> with torch.no_grad():
        ...     _ = twice.weight.copy_(2 * trunk.weight)
        >>> found = distortion(trunk, twice, torch.randn(9, 2))
        >>> round(found.drift, 5), round(found.similarity, 5)
        (1.0, 1.0)
    """
    one, other = _represented(before, inputs), _represented(after, inputs)
    length = one.norm(dim=1).sum()
    matrix = RepresentationSimilarity()({"before": one, "after": other})
    return Distortion(
        drift=float((other - one).norm(dim=1).sum() / length),
        similarity=matrix.between("before", "after"),
    )


def _represented(trunk: nn.Module, inputs: Tensor) -> Float[Tensor, "row width"]:
    was_training = trunk.training
    trunk.eval()
    with torch.no_grad():
        found = trunk(inputs).flatten(1)
    trunk.train(was_training)
    return found
