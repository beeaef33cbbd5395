"""From a grouping to a plan: how each network shares parameters, and why."""

from .measured_sharing import MeasuredSharing, choose_sharing
from .plan import Plan, PlanProvenance
from .policy import plan_from_predictions, recommend, share_as_given, share_as_measured

__all__ = [
    "MeasuredSharing",
    "Plan",
    "PlanProvenance",
    "choose_sharing",
    "plan_from_predictions",
    "recommend",
    "share_as_given",
    "share_as_measured",
]
