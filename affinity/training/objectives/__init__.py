"""How the losses of several tasks become one step."""

from collections.abc import Mapping
from dataclasses import fields, replace

import torch

from affinity.errors import check_choice, check_known

from .dynamic_weight_average import DynamicWeightAverage
from .gradnorm import GradNorm
from .jacobian_descent import JacobianDescent
from .minimax import Minimax
from .objective import Balance, Objective, Sum
from .uncertainty import UncertaintyWeighting
from .weighted import Weighted

OBJECTIVES: dict[str, Objective] = {
    "sum": Sum(),
    "minimax": Minimax(),
    "uncertainty": UncertaintyWeighting(),
    "dwa": DynamicWeightAverage(),
    "gradnorm": GradNorm(),
    "upgrad": JacobianDescent("UPGrad"),
    "pcgrad": JacobianDescent("PCGrad"),
    "mgda": JacobianDescent("MGDA"),
}
"""Objectives with their usual settings; `JacobianDescent` takes any of TorchJD's aggregators."""


def make_objective(name: str, settings: Mapping[str, float] | None = None) -> Objective:
    """An objective by name: one of `OBJECTIVES` or ``weighted``, with other settings.

    Args:
        settings: Values by name; for ``weighted``, the weight of each task.

    Raises:
        InputError: If the name or a setting is unknown, or a value is invalid.

    Example:
        >>> make_objective("gradnorm", {"alpha": 0.5}).alpha
        0.5
        >>> make_objective("weighted", {"depth": 2.0}).fixed_weights(("depth", "edges"))
        [2.0, 1.0]
    """
    settings = dict(settings or {})
    if name == "weighted":
        return Weighted(tuple(settings.items()))
    check_choice("the objective", name, [*OBJECTIVES, "weighted"], "unknown-objective")
    objective = OBJECTIVES[name]
    if isinstance(objective, JacobianDescent):
        objective = replace(objective, settings=tuple(settings.items()))
        objective.start((), torch.zeros(()))  # checks the settings
        return objective
    known = [field.name for field in fields(objective)]  # pyright: ignore[reportArgumentType]
    check_known(f"settings of the objective {name!r}", settings, known, "unknown-setting")
    return replace(objective, **settings)  # pyright: ignore[reportArgumentType]


__all__ = [
    "OBJECTIVES",
    "Balance",
    "DynamicWeightAverage",
    "GradNorm",
    "JacobianDescent",
    "Minimax",
    "Objective",
    "Sum",
    "UncertaintyWeighting",
    "Weighted",
    "make_objective",
]
