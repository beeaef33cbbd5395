"""Transfer: what one task, learned first, gives another that comes later."""

from .blocks import blocks_of
from .fine_tuning import FineTuning
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
from .tuning_plan import Phase, TuningPlan

__all__ = [
    "L2SP",
    "RECIPES",
    "FineTuning",
    "FromScratch",
    "FullFineTuning",
    "GradualUnfreezing",
    "LayerwiseDecay",
    "LinearProbe",
    "Phase",
    "ProbeThenTune",
    "Recipe",
    "ReinitializedLastLayer",
    "SmallerLearningRate",
    "SurgicalFineTuning",
    "TuningPlan",
    "blocks_of",
    "relative_gradient_norms",
]
