"""Transfer: the gain of a target from a source that is trained first, and how to fine-tune."""

from .architectures import Architecture, with_architectures
from .blocks import blocks_of, relative_gradient_norms
from .choose_recipe import ChosenRecipe, TuningCandidate, choose_recipe, tuning_candidates
from .covariate_shift import ShiftedSplit, hold_out_shifted
from .feature_distortion import (
    FINE_TUNING,
    Distortion,
    FeatureDistortion,
    distortion,
    measure_distortion,
)
from .fine_tuning import FineTuning
from .joint_or_sequential import (
    Circumstances,
    JointOrSequential,
    PairAdvice,
    PairComparison,
    compare_joint,
)
from .low_data import CurvePoint, LowDataCurve, low_data_curves, take_rows
from .measure_transfer import measure_transfer
from .merge_adapters import merge_adapters
from .recipes import (
    L2SP,
    RECIPES,
    FullFineTuning,
    GradualUnfreezing,
    LayerwiseDecay,
    LinearProbe,
    ProbeThenTune,
    Recipe,
    ReinitializedLastLayer,
    ReinitializedTopBlocks,
    SmallerLearningRate,
    SurgicalFineTuning,
    TrainingFromScratch,
)
from .report import TransferReport, TransferSummary
from .self_supervised import pretrain_on_inputs
from .sources import ALL_OTHERS, OWN_INPUTS, Sources, learn_sources
from .transfer import PairGain, Transfer, TransferLosses
from .transferability import (
    LEEP,
    SCORES,
    HScore,
    LogME,
    RankCorrelation,
    SourceFeatures,
    rank_correlation,
    representation_similarity,
    transferability_scores,
)
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
    "Architecture",
    "ChosenRecipe",
    "Circumstances",
    "CurvePoint",
    "Distortion",
    "FeatureDistortion",
    "FineTuning",
    "FullFineTuning",
    "GradualUnfreezing",
    "HScore",
    "JointOrSequential",
    "LayerwiseDecay",
    "LinearProbe",
    "LogME",
    "LowDataCurve",
    "PairAdvice",
    "PairComparison",
    "PairGain",
    "Phase",
    "ProbeThenTune",
    "RankCorrelation",
    "Recipe",
    "ReinitializedLastLayer",
    "ReinitializedTopBlocks",
    "ShiftedSplit",
    "SmallerLearningRate",
    "SourceFeatures",
    "Sources",
    "SurgicalFineTuning",
    "TrainingFromScratch",
    "Transfer",
    "TransferLosses",
    "TransferReport",
    "TransferSummary",
    "TuningCandidate",
    "TuningJob",
    "TuningPlan",
    "blocks_of",
    "choose_recipe",
    "compare_joint",
    "distortion",
    "hold_out_shifted",
    "learn_sources",
    "low_data_curves",
    "measure_distortion",
    "measure_transfer",
    "merge_adapters",
    "plan_for",
    "pretrain_on_inputs",
    "rank_correlation",
    "read_trunk",
    "relative_gradient_norms",
    "representation_similarity",
    "save_trunk",
    "take_rows",
    "transferability_scores",
    "tune",
    "tuning_candidates",
    "with_architectures",
]
