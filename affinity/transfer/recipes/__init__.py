"""Recipes: ways to tune a network that starts from a source, one a file."""

from .from_scratch import FromScratch
from .full_fine_tuning import FullFineTuning
from .gradual_unfreezing import GradualUnfreezing
from .l2_sp import L2SP
from .layerwise_decay import LayerwiseDecay
from .linear_probe import LinearProbe
from .probe_then_tune import ProbeThenTune
from .recipe import Recipe
from .reinitialized_last_layer import ReinitializedLastLayer
from .smaller_learning_rate import SmallerLearningRate
from .surgical import SurgicalFineTuning

RECIPES: dict[str, Recipe] = {
    "from scratch": FromScratch(),
    "linear probe": LinearProbe(),
    "full fine-tuning": FullFineTuning(),
    "smaller learning rate": SmallerLearningRate(),
    "layer-wise decay": LayerwiseDecay(),
    "re-initialized last layer": ReinitializedLastLayer(),
    "gradual unfreezing": GradualUnfreezing(),
    "linear probe then fine-tuning": ProbeThenTune(),
    "surgical fine-tuning": SurgicalFineTuning(),
    "L2-SP": L2SP(),
}

__all__ = [
    "L2SP",
    "RECIPES",
    "FromScratch",
    "FullFineTuning",
    "GradualUnfreezing",
    "LayerwiseDecay",
    "LinearProbe",
    "ProbeThenTune",
    "Recipe",
    "ReinitializedLastLayer",
    "SmallerLearningRate",
    "SurgicalFineTuning",
]
