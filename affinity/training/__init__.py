"""Trained networks: the loop, and many trainings at once."""

from .command_trainer import CommandTrainer
from .ensemble import train_members, works_at_once
from .fan_out import fan_out, train_on_devices
from .function_trainer import FunctionTrainer
from .initialization import Initialization
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
    make_objective,
)
from .protocol import Job, Result, Scores, Trainer
from .sampling import SAMPLINGS, JointBatches, TaskBatches, make_sampling
from .settings import TrainingSettings
from .store import Store
from .trained_network import TrainedNetwork

__all__ = [
    "MOST_BLOCKS",
    "OBJECTIVES",
    "SAMPLINGS",
    "Build",
    "CommandTrainer",
    "DynamicWeightAverage",
    "FunctionTrainer",
    "GradNorm",
    "Initialization",
    "JacobianDescent",
    "Job",
    "JointBatches",
    "Member",
    "Minimax",
    "Objective",
    "Result",
    "Scores",
    "Store",
    "Sum",
    "TaskBatches",
    "TrainedNetwork",
    "Trainer",
    "TrainingSettings",
    "UncertaintyWeighting",
    "Weighted",
    "fan_out",
    "initial",
    "make_objective",
    "make_sampling",
    "train",
    "train_members",
    "train_on_devices",
    "works_at_once",
]
