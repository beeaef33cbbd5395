"""Trained networks: the loop, and many trainings at once."""

from .ensemble import train_members
from .loop import train
from .members import Member, initial
from .settings import TrainingSettings
from .trained import Trained

__all__ = ["Member", "Trained", "TrainingSettings", "initial", "train", "train_members"]
