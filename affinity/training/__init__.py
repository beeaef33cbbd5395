"""Trained networks: the loop, and many trainings at once."""

from .ensemble import train_members
from .loop import train
from .members import Member
from .settings import TrainingSettings
from .trained import Trained

__all__ = ["Member", "Trained", "TrainingSettings", "train", "train_members"]
