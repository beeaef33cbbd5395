"""Fidelity: how good the decisions are that a method makes from what it measured."""

from .half import Half
from .measure import Method, measure
from .measured import Measured
from .methods import METHODS

__all__ = ["METHODS", "Half", "Measured", "Method", "measure"]
