"""Few-shot learning: meta-learn from many tasks how to learn a new one from few rows."""

from .baselines import FromScratch, LinearModel, Pretrained
from .built_in import few_shot_digits, few_shot_sines
from .class_family import ClassFamily
from .class_problem import class_problem
from .compare_methods import METHODS, FewShotMethod, compare_few_shot, methods_for
from .distribution_shift import DistributionShift, check_distribution_shift
from .episodes import Episodes
from .family import Family
from .hierarchical_regression import HierarchicalRegression, entropy
from .learner import FewShotLearner, LearnedInitialization
from .maml import ANIL, MAML, FirstOrderMAML
from .meta_training import MetaTraining
from .problem import FewShotProblem
from .prototypical_network import LearnedEmbedding, PrototypicalNetwork
from .reptile import Reptile
from .results import FewShotResult, FewShotSummary, MethodScores
from .sine_waves import SineWaves
from .table_problem import few_shot_table
from .task_family import TaskFamily

__all__ = [
    "ANIL",
    "MAML",
    "METHODS",
    "ClassFamily",
    "DistributionShift",
    "Episodes",
    "Family",
    "FewShotLearner",
    "FewShotMethod",
    "FewShotProblem",
    "FewShotResult",
    "FewShotSummary",
    "FirstOrderMAML",
    "FromScratch",
    "HierarchicalRegression",
    "LearnedEmbedding",
    "LearnedInitialization",
    "LinearModel",
    "MetaTraining",
    "MethodScores",
    "Pretrained",
    "PrototypicalNetwork",
    "Reptile",
    "SineWaves",
    "TaskFamily",
    "check_distribution_shift",
    "class_problem",
    "compare_few_shot",
    "entropy",
    "few_shot_digits",
    "few_shot_sines",
    "few_shot_table",
    "methods_for",
]
