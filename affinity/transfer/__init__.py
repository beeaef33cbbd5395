"""Transfer: what one task, learned first, gives another that comes later."""

from .blocks import blocks_of
from .choose_recipe import ChosenRecipe, candidates, choose_recipe
from .fine_tuning import FineTuning
from .measure_transfer import measure_transfer
from .own_inputs import pretrain_on_inputs
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
from .sources import ALL_OTHERS, OWN_INPUTS, Sources, learn_sources
from .transfer import Transfer
from .tune import Job, plan_for, tune
from .tuning_plan import Phase, TuningPlan
from .weights import read_trunk, save_trunk

__all__ = [
    "ALL_OTHERS",
    "L2SP",
    "OWN_INPUTS",
    "RECIPES",
    "ChosenRecipe",
    "FineTuning",
    "FromScratch",
    "FullFineTuning",
    "GradualUnfreezing",
    "Job",
    "LayerwiseDecay",
    "LinearProbe",
    "Phase",
    "ProbeThenTune",
    "Recipe",
    "ReinitializedLastLayer",
    "SmallerLearningRate",
    "Sources",
    "SurgicalFineTuning",
    "Transfer",
    "TuningPlan",
    "blocks_of",
    "candidates",
    "choose_recipe",
    "learn_sources",
    "measure_transfer",
    "plan_for",
    "pretrain_on_inputs",
    "read_trunk",
    "relative_gradient_norms",
    "save_trunk",
    "tune",
]
