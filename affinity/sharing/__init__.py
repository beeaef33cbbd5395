"""Ways in which tasks share parameters: modules that predict every task of a network."""

from .attention import Attention
from .branched import Branched
from .check_fit import check_fit
from .conditioning import TaskConditioning
from .cost import Cost, cost_of, match_parameters
from .cross_stitch import CrossStitch
from .gate_health import GateHealth, gate_health
from .hard import HardSharing
from .mmoe import MMoE
from .perceiver import Perceiver
from .perceptron import Perceptron
from .progressive_extraction import ProgressiveExtraction
from .registry import MERGED, SHARINGS, MakeSharing, SharingMethod, SharingSettings
from .relationship import RelationshipNetwork, flip_flop
from .separate import Separate
from .sharing import Head, Sharing, Trunk
from .soft import SoftSharing
from .trunks import TRUNKS, FeatureTransformer, MakeTrunk, find_trunk

__all__ = [
    "MERGED",
    "SHARINGS",
    "TRUNKS",
    "Attention",
    "Branched",
    "Cost",
    "CrossStitch",
    "FeatureTransformer",
    "GateHealth",
    "HardSharing",
    "Head",
    "MMoE",
    "MakeSharing",
    "MakeTrunk",
    "Perceiver",
    "Perceptron",
    "ProgressiveExtraction",
    "RelationshipNetwork",
    "Separate",
    "Sharing",
    "SharingMethod",
    "SharingSettings",
    "SoftSharing",
    "TaskConditioning",
    "Trunk",
    "check_fit",
    "cost_of",
    "find_trunk",
    "flip_flop",
    "gate_health",
    "match_parameters",
]
