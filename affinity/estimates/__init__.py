"""How tasks affect each other, estimated from a trace."""

from .matrix import AffinityMatrix

__all__ = ["AffinityMatrix"]
