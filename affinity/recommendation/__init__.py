"""Which sharing each group gets, and why."""

from .plan import Plan, Sharing
from .policy import recommend

__all__ = ["Plan", "Sharing", "recommend"]
