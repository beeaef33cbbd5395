"""Optimizing for transfer: learning from few rows what many other tasks have in common."""

from .anil import ANIL
from .built_in import few_shot_digits, few_shot_sines
from .class_family import ClassFamily
from .class_problem import class_problem
from .compare import METHODS, Method, compare, methods_for
from .episodes import Episodes
from .family import Family, Joint
from .first_order_maml import FirstOrderMAML
from .from_scratch import FromScratch
from .hierarchical_regression import HierarchicalRegression, entropy
from .learned import Initialization, Learned
from .maml import MAML
from .one_distribution import OneDistribution, check_one_distribution
from .pretrained import Pretrained
from .problem import FewShotProblem
from .prototypical_network import Embedding, PrototypicalNetwork
from .reptile import Reptile
from .results import FewShotResult, Scores
from .settings import MetaTraining
from .sine_waves import SineWaves
from .table_problem import few_shot_table
from .task_family import TaskFamily

__all__ = [
    "ANIL",
    "MAML",
    "METHODS",
    "ClassFamily",
    "Embedding",
    "Episodes",
    "Family",
    "FewShotProblem",
    "FewShotResult",
    "FirstOrderMAML",
    "FromScratch",
    "HierarchicalRegression",
    "Initialization",
    "Joint",
    "Learned",
    "MetaTraining",
    "Method",
    "OneDistribution",
    "Pretrained",
    "PrototypicalNetwork",
    "Reptile",
    "Scores",
    "SineWaves",
    "TaskFamily",
    "check_one_distribution",
    "class_problem",
    "compare",
    "entropy",
    "few_shot_digits",
    "few_shot_sines",
    "few_shot_table",
    "methods_for",
]
