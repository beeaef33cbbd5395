"""Problems: tables, built-in and planted problems, their splits, and training on them."""

from .branching import Branching
from .column_use import ColumnUse
from .digits import load_digits
from .label_counts import LabelCounts
from .network_trainer import NetworkTrainer
from .planted import planted
from .preprocessing import Preprocessing
from .problem import DataSource, Problem, TableParts, TableTrunk, at_equal_size
from .record import record
from .resampling import Draw, RandomRows, Resampling, TimeBlocks
from .strength import Strengths, try_strengths
from .table import TableEncoder, load_table
from .train_networks import TrainingResults, merge, train_networks

__all__ = [
    "Branching",
    "ColumnUse",
    "DataSource",
    "Draw",
    "LabelCounts",
    "NetworkTrainer",
    "Preprocessing",
    "Problem",
    "RandomRows",
    "Resampling",
    "Strengths",
    "TableEncoder",
    "TableParts",
    "TableTrunk",
    "TimeBlocks",
    "TrainingResults",
    "at_equal_size",
    "load_digits",
    "load_table",
    "merge",
    "planted",
    "record",
    "train_networks",
    "try_strengths",
]
