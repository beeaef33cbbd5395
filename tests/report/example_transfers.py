"""Made-up results of a transfer and of few shots, as their pages take them."""

import itertools
import math

import torch

from affinity.fewshot import FewShotResult, FewShotSummary
from affinity.fewshot.distribution_shift import DistributionShift
from affinity.fewshot.results import MethodScores
from affinity.transfer import CurvePoint, PairGain, RankCorrelation, TransferSummary
from affinity.transfer.feature_distortion import PairDistortion, RecipeDistortion
from affinity.transfer.joint_or_sequential import JointOrSequentialGain
from affinity.transfer.report import DistortionSummary

NUMBERS = (0.5, 0.4, 0.6, 0.9, 0.8, math.nan, 0.1, 0.05, 0.15)
"""Drift, similarity and gain of a recipe, each with an interval."""


def a_transfer(name: str = "depth") -> TransferSummary:
    pairs = [
        (name, "edges", 0.25, "beneficial"),
        ("edges", name, -0.5, "harmful"),
        ("own inputs", name, 0.001, "neutral"),
        ("own inputs", "edges", 0.1, "undecided"),
    ]
    return TransferSummary(
        problem="made up",
        recipe="full fine-tuning",
        n_replicates=5,
        sources=(name, "edges", "own inputs"),
        targets=(name, "edges"),
        pairs=tuple(
            PairGain(source, target, gain, gain - 0.1, gain + 0.1, verdict, *(math.nan,) * 3, None)
            for source, target, gain, verdict in pairs
        ),
        best_source={name: "own inputs", "edges": name},
        scores=(RankCorrelation("LogME", 0.5, math.nan, 2),),
        curves=(
            CurvePoint(name, "edges", 25, 0.4, 0.3, 0.5, "beneficial", 0.1, math.nan, math.nan),
            CurvePoint(name, "edges", 100, 0.0, -0.1, 0.1, "undecided", 0.1, math.nan, math.nan),
        ),
        curve_lines=("A line on rows.",),
        joint=(
            JointOrSequentialGain(
                *(name, "edges", 0.25, 0.1, 0.4, "beneficial", 0.0, -0.1, 0.1, "undecided"),
                *("sequential", ("for a reason",)),
            ),
        ),
        distortion=DistortionSummary(
            summary="A linear probe first is better.",
            overall=tuple(
                RecipeDistortion(recipe, rows, *NUMBERS)
                for recipe, rows in itertools.product(
                    ("linear probe", "full fine-tuning"), ("in distribution", "shifted")
                )
            ),
            pairs=(PairDistortion("linear probe", "shifted", *NUMBERS, name, "edges"),),
        ),
        context={"command": "affinity transfer made-up", "seeds": [0, 1]},
    )


def a_fewshot(name: str = "clouds", replicates: int = 2) -> FewShotSummary:
    """A method that is better than from scratch, and one that is worse."""
    generator = torch.Generator().manual_seed(0)

    def scores(mean: float) -> MethodScores:
        test = mean + 0.01 * torch.randn(replicates, 2, 20, generator=generator)
        return MethodScores(test, test[:, -1])

    methods = {"from scratch": scores(0.5), "Reptile": scores(0.4), "MAML": scores(0.7)}
    check = DistributionShift(0.01, 5, 3, f"{name} differ")
    context = {"command": "affinity fewshot clouds", "methods": ["FromScratch()"]}
    return FewShotResult(
        name, "accuracy", (1, 10), {1: methods, 5: methods}, check, context
    ).summary()
