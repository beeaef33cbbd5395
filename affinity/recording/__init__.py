"""What one multi-task run tells about its tasks: a recorder that watches, and its trace."""

from .merge import merge_traces
from .recorder import Recorder
from .schedule import Cost
from .settings import StepKind
from .trace import Trace

__all__ = ["Cost", "Recorder", "StepKind", "Trace", "merge_traces"]
