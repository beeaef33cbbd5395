"""Every way to share trains with every objective and task sampling, also with missing labels."""

from itertools import product

import pytest
import torch
from torch import Tensor, nn

from affinity.problems import Problem
from affinity.sharing import SHARINGS, Perceptron
from affinity.tasks import Examples, RSquared, SquaredError, Task
from affinity.training import (
    OBJECTIVES,
    SAMPLINGS,
    TrainingSettings,
    Weighted,
    make_sampling,
    train,
)

NAMES = ("full", "half", "none")
ALL_OBJECTIVES = {**OBJECTIVES, "weighted": Weighted((("half", 3.0),))}


def problem() -> Problem:
    """Three tasks: one with all labels, one with half of them, one with none in training."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(80, 4, generator=generator)
    targets = inputs[:, :3] + 0.1 * torch.randn(80, 3, generator=generator)
    targets[::2, 1] = torch.nan
    rows = Examples(inputs, targets)
    return Problem(
        name="missing labels",
        tasks=tuple(Task(name, SquaredError(), RSquared()) for name in NAMES),
        development=rows.take(torch.arange(60)),
        test=rows.take(torch.arange(60, 80)),
        trunk=lambda: Perceptron(4, width=6, depth=2),
        head=lambda task: nn.Linear(6, task.n_outputs),
    )


def states(network: nn.Module) -> list[Tensor]:
    return [value.detach().clone() for value in network.parameters()]


@pytest.mark.slow
@pytest.mark.parametrize("sharing", SHARINGS)
def test_it_trains_with_every_objective_and_sampling(sharing: str) -> None:
    base = problem()
    replicate = base.replicate(0)
    replicate.training.targets[:, 2] = torch.nan
    for (name, objective), sampling in product(ALL_OBJECTIVES.items(), SAMPLINGS):
        settings = TrainingSettings(
            epochs=2, batch_size=16, objective=objective, sampling=make_sampling(sampling)
        )
        network = SHARINGS[sharing](base.tasks, base.trunk, base.head, base.development.inputs[:2])
        before = states(network)
        result = train(network, base.tasks, replicate, settings)
        losses = torch.tensor([result.test_loss[task] for task in NAMES])
        assert losses.isfinite().all(), (name, sampling)
        changed = [not torch.equal(*pair) for pair in zip(before, states(network), strict=True)]
        assert any(changed), (name, sampling)
