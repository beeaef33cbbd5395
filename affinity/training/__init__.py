"""Trained networks: the loop, and many trainings at once."""

from .ensemble import train_members, works_at_once
from .fan_out import fan_out
from .judge import MOST_BLOCKS
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
from .start import Start
from .store import Store
from .trained import Trained

__all__ = [
    "MOST_BLOCKS",
    "OBJECTIVES",
    "Build",
    "DynamicWeightAverage",
    "GradNorm",
    "JacobianDescent",
    "JointBatches",
    "Member",
    "Minimax",
    "Objective",
    "Start",
    "Store",
    "Sum",
    "TaskBatches",
    "Trained",
    "TrainingSettings",
    "UncertaintyWeighting",
    "Weighted",
    "fan_out",
    "initial",
    "train",
    "train_members",
    "works_at_once",
]
