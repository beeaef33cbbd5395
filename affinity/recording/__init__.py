"""Recording: a recorder of multi-task training runs, and the traces that it makes."""

from .recorder import Recorder
from .schedule import RecordingCost
from .settings import StepKind
from .trace import Trace, merge_traces

__all__ = ["Recorder", "RecordingCost", "StepKind", "Trace", "merge_traces"]
