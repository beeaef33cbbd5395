"""Transfer: what one task, learned first, gives another that comes later."""

from .blocks import blocks_of
from .choose_recipe import ChosenRecipe, candidates, choose_recipe
from .distortion import Distortion, distortion
from .feature_distortion import FINE_TUNING, FeatureDistortion
from .fine_tuning import FineTuning
from .joint_or_sequential import Advice, Circumstances, JointOrSequential, compare_joint
from .low_data import LowDataCurve, few, low_data_curves
from .measure_distortion import measure_distortion
from .measure_transfer import measure_transfer
from .own_inputs import pretrain_on_inputs
from .promise import Foretold, foretold, promise, representation_similarity
from .recipes import (
    L2SP,
    RECIPES,
    FromScratch,
    FullFineTuning,
    GradualUnfreezing,
    LayerwiseDecay,
    LinearProbe,
    ProbeThenTune,
    Recipe,
    ReinitializedLastLayer,
    SmallerLearningRate,
    SurgicalFineTuning,
)
from .relative_gradients import relative_gradient_norms
from .scores import LEEP, SCORES, HScore, LogME, View
from .shifted_rows import Shifted, hold_out_shifted
from .sources import ALL_OTHERS, OWN_INPUTS, Sources, learn_sources
from .transfer import Transfer
from .tune import TuningJob, plan_for, tune
from .tuning_plan import Phase, TuningPlan
from .weights import read_trunk, save_trunk

__all__ = [
    "ALL_OTHERS",
    "FINE_TUNING",
    "L2SP",
    "LEEP",
    "OWN_INPUTS",
    "RECIPES",
    "SCORES",
    "Advice",
    "ChosenRecipe",
    "Circumstances",
    "Distortion",
    "FeatureDistortion",
    "FineTuning",
    "Foretold",
    "FromScratch",
    "FullFineTuning",
    "GradualUnfreezing",
    "HScore",
    "JointOrSequential",
    "LayerwiseDecay",
    "LinearProbe",
    "LogME",
    "LowDataCurve",
    "Phase",
    "ProbeThenTune",
    "Recipe",
    "ReinitializedLastLayer",
    "Shifted",
    "SmallerLearningRate",
    "Sources",
    "SurgicalFineTuning",
    "Transfer",
    "TuningJob",
    "TuningPlan",
    "View",
    "blocks_of",
    "candidates",
    "choose_recipe",
    "compare_joint",
    "distortion",
    "few",
    "foretold",
    "hold_out_shifted",
    "learn_sources",
    "low_data_curves",
    "measure_distortion",
    "measure_transfer",
    "plan_for",
    "pretrain_on_inputs",
    "promise",
    "read_trunk",
    "relative_gradient_norms",
    "representation_similarity",
    "save_trunk",
    "tune",
]
