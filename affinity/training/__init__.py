"""Trained networks: the loop, and many trainings at once."""

from .settings import TrainingSettings

__all__ = ["TrainingSettings"]
