"""The commands, one a stage: what can be typed; each imports what it needs when it is called."""

from .audit import audit
from .compare import compare
from .diagnose import diagnose
from .estimate import estimate
from .fewshot import fewshot
from .group import group
from .predict import predict
from .problems import problems
from .record import record
from .report import report
from .retrain import retrain
from .schema import schema
from .transfer import transfer

__all__ = [
    "audit",
    "compare",
    "diagnose",
    "estimate",
    "fewshot",
    "group",
    "predict",
    "problems",
    "record",
    "report",
    "retrain",
    "schema",
    "transfer",
]
