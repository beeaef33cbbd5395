"""Trained networks: the loop, and many trainings at once."""

from .ensemble import train_members
from .loop import train
from .members import Build, Member, initial
from .objectives import (
    OBJECTIVES,
    DynamicWeightAverage,
    GradNorm,
    JacobianDescent,
    Minimax,
    Objective,
    Sum,
    UncertaintyWeighting,
    Weighted,
)
from .sampling import JointBatches, TaskBatches
from .settings import TrainingSettings
from .trained import Trained

__all__ = [
    "OBJECTIVES",
    "Build",
    "DynamicWeightAverage",
    "GradNorm",
    "JacobianDescent",
    "JointBatches",
    "Member",
    "Minimax",
    "Objective",
    "Sum",
    "TaskBatches",
    "Trained",
    "TrainingSettings",
    "UncertaintyWeighting",
    "Weighted",
    "initial",
    "train",
    "train_members",
]
