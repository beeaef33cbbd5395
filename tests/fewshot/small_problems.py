"""Few-shot problems small enough for a test."""

from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from torch import nn

from affinity.fewshot import MetaTraining, class_problem, few_shot_sines

SETTINGS = MetaTraining(iterations=4, batch=4)


def waves(settings=SETTINGS, **changes):
    return replace(few_shot_sines(settings, width=8), shots=5, steps=(1, 3), **changes)


def clouds(settings=SETTINGS, ways=3, per_class=24, **options):
    """Eight Gaussian clouds, three of them for the meta-test."""
    generator = torch.Generator().manual_seed(0)
    centres = 3 * torch.randn(8, 4, generator=generator)
    labels = torch.arange(8).repeat_interleave(per_class)
    inputs = centres[labels] + torch.randn(len(labels), 4, generator=generator)
    problem = class_problem(
        "clouds",
        inputs,
        [f"cloud {label}" for label in labels.tolist()],
        ways=ways,
        trunk=lambda: nn.Sequential(nn.Linear(4, 8), nn.Tanh()),
        head=lambda task: nn.Linear(8, task.n_outputs),
        queries=5,
        settings=settings,
        **options,
    )
    return replace(problem, steps=(1, 3))


def schools(n_schools=10, rows=24):
    random = np.random.default_rng(0)
    table = pd.DataFrame({"age": random.normal(size=n_schools * rows)})
    table["school"] = np.arange(len(table)) % n_schools
    table["score"] = table["age"] * table["school"] + 50
    table["passed"] = np.where(table["score"] > 50, "yes", "no")
    return table
