"""Reports: pages, pictures and tables of results; plotting libraries are imported only here."""

from affinity.audit import Alert

from .adaptation_curves import AdaptationCurves
from .alerts import find_alerts
from .alternatives import BudgetChoice, ConsensusHeatmap, measure_stability, solve_budgets
from .audit_page import AuditPage, write_report
from .candidate_plot import CandidatePlot
from .comparison import moved_pairs, render_comparison, write_comparison
from .diagnosis_text import advice_lines, diagnosis_headline, verdict_word
from .fewshot_page import fewshot_page_of, fewshot_pictures
from .gain_plot import GainPlot
from .gate_use import GateUse
from .headline import Headline, audit_headline
from .heatmap import Heatmap
from .layer_conflict import LayerConflict
from .low_data_lines import LowDataLines
from .over_time import OverTime
from .page_result import PageResult, schema
from .pictures import write_figures
from .probability_plot import ProbabilityPlot
from .recovery_plot import RecoveryPlot
from .study_page import LivePage, study_page_of
from .task_graph import TaskGraph
from .transfer_heatmap import TransferHeatmap
from .transfer_page import transfer_page_of, transfer_pictures

__all__ = [
    "AdaptationCurves",
    "Alert",
    "AuditPage",
    "BudgetChoice",
    "CandidatePlot",
    "ConsensusHeatmap",
    "GainPlot",
    "GateUse",
    "Headline",
    "Heatmap",
    "LayerConflict",
    "LivePage",
    "LowDataLines",
    "OverTime",
    "PageResult",
    "ProbabilityPlot",
    "RecoveryPlot",
    "TaskGraph",
    "TransferHeatmap",
    "advice_lines",
    "audit_headline",
    "diagnosis_headline",
    "fewshot_page_of",
    "fewshot_pictures",
    "find_alerts",
    "measure_stability",
    "moved_pairs",
    "render_comparison",
    "schema",
    "solve_budgets",
    "study_page_of",
    "transfer_page_of",
    "transfer_pictures",
    "verdict_word",
    "write_comparison",
    "write_figures",
    "write_report",
]
