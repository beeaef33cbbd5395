"""Pages, pictures and tables; plotting libraries are imported only here."""

from .adaptation_curves import AdaptationCurves
from .alert import Alert
from .alerts import find_alerts
from .comparison import comparison_of, moved_pairs, write_comparison
from .export import write_figures
from .fewshot_page import fewshot_page_of, fewshot_pictures, write_fewshot
from .gain_dots import GainDots
from .gate_use import GateUse
from .heatmap import Heatmap, heatmap
from .html_page import page_of, write_report
from .layer_conflict import LayerConflict
from .low_data_lines import LowDataLines
from .other_groupings import Choice, Together, choices_of, stability_of
from .over_time import OverTime
from .recovered_dots import RecoveredDots
from .schema import schema
from .task_graph import TaskGraph
from .transfer_heatmap import TransferHeatmap
from .transfer_page import transfer_page_of, transfer_pictures, write_transfer
from .verdict_words import Headline, headline

__all__ = [
    "AdaptationCurves",
    "Alert",
    "Choice",
    "GainDots",
    "GateUse",
    "Headline",
    "Heatmap",
    "LayerConflict",
    "LowDataLines",
    "OverTime",
    "RecoveredDots",
    "TaskGraph",
    "Together",
    "TransferHeatmap",
    "choices_of",
    "comparison_of",
    "fewshot_page_of",
    "fewshot_pictures",
    "find_alerts",
    "headline",
    "heatmap",
    "moved_pairs",
    "page_of",
    "schema",
    "stability_of",
    "transfer_page_of",
    "transfer_pictures",
    "write_comparison",
    "write_fewshot",
    "write_figures",
    "write_report",
    "write_transfer",
]
