"""What a source sees in the target's rows: all that a score without training looks at."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, eq=False)
class View:
    """The target's labelled rows through the eyes of a source.

    Args:
        features: Of the source's trunk.
        labels: Of the target; classes are numbered.
        n_classes: Of the target; None for a number.
        probabilities: That the source gives its own classes; None where it has none.
    """

    features: Float[Tensor, "row feature"]
    labels: Float[Tensor, " row"]
    n_classes: int | None
    probabilities: Float[Tensor, "row class"] | None = None
