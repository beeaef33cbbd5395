"""Which sharing each group gets, and why."""

from .foretold import recommend_foretold
from .measured_sharing import MeasuredSharing, choose_sharing
from .plan import Plan, Sharing
from .policy import recommend, share_as_measured

__all__ = [
    "MeasuredSharing",
    "Plan",
    "Sharing",
    "choose_sharing",
    "recommend",
    "recommend_foretold",
    "share_as_measured",
]
