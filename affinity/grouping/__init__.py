"""Which tasks to train together, within a budget."""

from .grouping import Grouping, Network

__all__ = ["Grouping", "Network"]
