"""How the losses of several tasks become one step."""

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
]
