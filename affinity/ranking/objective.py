"""Objective: what a ranking model predicts about an impression, and on which impressions."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from affinity.errors import InputError, check_choice, check_number
from affinity.tasks import BinaryCrossEntropy, RocAuc, Task, check_names

ObjectiveKind = Literal["binary", "squared error", "weighted logistic"]
ObjectiveFamily = Literal["engagement", "satisfaction"]


@dataclass(frozen=True)
class RankingObjective:
    r"""One objective of a ranking model.

    Kinds, for a logit or output :math:`z`:

    - ``"binary"``: a label of 0 or 1, cross-entropy; the prediction is :math:`\sigma(z)`.
    - ``"squared error"``: a time :math:`t \ge 0`, the squared error of :math:`\log(1 + t)`; the
      prediction is :math:`e^z - 1`.
    - ``"weighted logistic"``: a time, of which every impression is once a negative example, and
      once a positive example of weight t:

      .. math:: t \log(1 + e^{-z}) + \log(1 + e^z)

      The minimum is at :math:`e^z = E[t]`, the prediction. (Covington et al. take impressions
      without a click as the negatives; then the odds are :math:`E[t] / (1 - p)` at a click rate p,
      which is close to E[t] only where clicks are rare.)

    Args:
        name: Its name, and that of the column with its labels.
        kind: How it is predicted.
        family: Engagement (what users do) or satisfaction (what they think of it).
        after: An earlier binary objective without which the label does not exist, such as a click:
            other impressions are left out of the loss.
        product: With `after`: train on all impressions, on the product of probabilities
            :math:`p(\text{after})\, p(\text{this} \mid \text{after})`, as ESMM does; the
            prediction is this product.
        has_position_bias: Whether the position changes what users do; by default it does for
            engagement.
        weight: Of its loss.
        time_unit: Times are divided by it in a weighted logistic loss, so that its size is similar
            to that of others.

    References:
        Covington et al. (2016), `Deep Neural Networks for YouTube Recommendations
        <https://doi.org/10.1145/2959100.2959190>`_, section 4.2; Ma et al. (2018), `Entire Space
        Multi-Task Model <https://arxiv.org/abs/1804.07931>`_.

    Example:
        >>> RankingObjective("like", family="satisfaction", after="click").is_biased
        False
    """

    name: str
    kind: ObjectiveKind = "binary"
    family: ObjectiveFamily = "engagement"
    after: str | None = None
    product: bool = False
    has_position_bias: bool | None = None
    weight: float = 1.0
    time_unit: float = 1.0

    def __post_init__(self) -> None:
        for name, choices in (("kind", ObjectiveKind), ("family", ObjectiveFamily)):
            what = f"the {name} of objective {self.name!r}"
            check_choice(what, getattr(self, name), get_args(choices), "unknown-objective-kind")
        if self.product and (self.after is None or not self.is_binary):
            raise InputError(
                f"Expected objective {self.name!r} with product=True to be binary and to name the "
                "objective that it follows (after=...).",
                "product-without-after",
            )
        for name in ("weight", "time_unit"):
            what = f"the {name} of objective {self.name!r}"
            check_number(what, getattr(self, name), "invalid-weight", above=0)

    @property
    def is_binary(self) -> bool:
        """Whether the label is 0 or 1."""
        return self.kind == "binary"

    @property
    def is_biased(self) -> bool:
        """Whether the position may change the label."""
        if self.has_position_bias is None:
            return self.family == "engagement"
        return self.has_position_bias

    @property
    def task(self) -> Task:
        """The task whose head predicts the output."""
        return Task(self.name, BinaryCrossEntropy(), RocAuc(), weight=self.weight)

    def loss(
        self, outputs: Sequence[Float[Tensor, " row"]], label: Float[Tensor, " row"]
    ) -> Float[Tensor, ""]:
        """Mean loss over the labelled rows, of which there is at least one.

        Args:
            outputs: The objective's output; for a product, before it those of the objectives that
                it follows.
            label: NaN where it is missing.
        """
        known = ~label.isnan()
        label = label[known]
        *conditions, output = [output[known] for output in outputs]
        if self.kind == "squared error":
            return (output - label.log1p()).square().mean()
        if self.kind == "weighted logistic":
            time = label / self.time_unit
            return (time * functional.softplus(-output) + functional.softplus(output)).mean()
        if not conditions:
            return functional.binary_cross_entropy_with_logits(output, label)
        log_probability = sum(map(functional.logsigmoid, conditions), functional.logsigmoid(output))
        largest = -torch.finfo(label.dtype).eps  # the logarithm of 1 - p is finite
        rest = torch.log(-torch.expm1(log_probability.clamp(max=largest)))
        return -(label * log_probability + (1 - label) * rest).mean()

    def prediction(self, outputs: Sequence[Float[Tensor, " row"]]) -> Float[Tensor, " row"]:
        """What the outputs say about the label: a probability or a time."""
        *conditions, output = outputs
        if self.kind == "squared error":
            return output.expm1().clamp(min=0)
        if self.kind == "weighted logistic":
            return output.exp() * self.time_unit
        probability = output.sigmoid()
        for condition in conditions:
            probability = probability * condition.sigmoid()
        return probability


def check_objectives(objectives: Iterable[RankingObjective]) -> tuple[RankingObjective, ...]:
    """The objectives as a tuple, with unique names and `after` an earlier binary objective."""
    checked = tuple(objectives)
    check_names(objective.name for objective in checked)
    if not checked:
        raise InputError("Expected at least one objective, but got none.", "no-objectives")
    earlier: set[str] = set()
    for objective in checked:
        if objective.after is not None and objective.after not in earlier:
            raise InputError(
                f"Expected objective {objective.name!r} to follow one of the binary objectives "
                f"before it, {sorted(earlier)}, but got after={objective.after!r}.",
                "unknown-condition",
            )
        if objective.is_binary:
            earlier.add(objective.name)
    return checked


def chain_of(objectives: Sequence[RankingObjective], objective: RankingObjective) -> list[int]:
    """The places of the outputs whose product an objective predicts; its own is the last."""
    names = [each.name for each in objectives]
    chain = [names.index(objective.name)]
    while objective.product and objective.after in names:
        objective = objectives[names.index(objective.after)]
        chain.insert(0, names.index(objective.name))
    return chain
