"""Recording: a recorder of multi-task training runs, and the traces that it makes."""

from .by_task import TaskLabels, losses_by_task, rows_by_task, select_rows
from .recorder import Recorder
from .schedule import RecordingCost
from .settings import StepKind
from .summary import RecordingSummary
from .trace import Trace, merge_traces

__all__ = [
    "Recorder",
    "RecordingCost",
    "RecordingSummary",
    "StepKind",
    "TaskLabels",
    "Trace",
    "losses_by_task",
    "merge_traces",
    "rows_by_task",
    "select_rows",
]
