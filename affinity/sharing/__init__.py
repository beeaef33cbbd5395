"""Ways in which tasks share parameters, as plain modules that predict every task at once."""

from .hard import HardSharing
from .perceptron import Perceptron
from .sharing import Sharing

__all__ = ["HardSharing", "Perceptron", "Sharing"]
