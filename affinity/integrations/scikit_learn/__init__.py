"""Estimators for scikit-learn that find out which targets should share a network."""

from .classifier import TaskGroupedClassifier
from .regressor import TaskGroupedRegressor

__all__ = ["TaskGroupedClassifier", "TaskGroupedRegressor"]
