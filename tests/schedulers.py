"""PyTorch's learning-rate schedulers, each stepped once per epoch."""

from collections.abc import Callable

import pytest
import torch
from torch.optim import Optimizer, lr_scheduler
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

RATE, EPOCHS = 0.1, 4
MakeScheduler = Callable[[Optimizer], LRScheduler]

SCHEDULERS: dict[str, MakeScheduler] = {
    "constant rate": lambda o: lr_scheduler.LambdaLR(o, lambda _: 1.0),
    "LambdaLR": lambda o: lr_scheduler.LambdaLR(o, lambda epoch: (epoch + 1) / EPOCHS),
    "MultiplicativeLR": lambda o: lr_scheduler.MultiplicativeLR(o, lambda _: 0.7),
    "StepLR": lambda o: lr_scheduler.StepLR(o, 2, gamma=0.5),
    "MultiStepLR": lambda o: lr_scheduler.MultiStepLR(o, [1, 3], gamma=0.5),
    "ConstantLR": lambda o: lr_scheduler.ConstantLR(o, 0.5, total_iters=2),
    "LinearLR": lambda o: lr_scheduler.LinearLR(o, 0.3, total_iters=3),
    "ExponentialLR": lambda o: lr_scheduler.ExponentialLR(o, 0.9),
    "PolynomialLR": lambda o: lr_scheduler.PolynomialLR(o, total_iters=EPOCHS + 1),
    "CosineAnnealingLR": lambda o: lr_scheduler.CosineAnnealingLR(o, EPOCHS, eta_min=0.01),
    "warm restarts": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 2, eta_min=0.01),
    "CyclicLR": lambda o: lr_scheduler.CyclicLR(
        o, base_lr=0.01, max_lr=0.2, step_size_up=2, cycle_momentum=False
    ),
    "OneCycleLR": lambda o: lr_scheduler.OneCycleLR(
        o, max_lr=0.3, total_steps=EPOCHS + 1, cycle_momentum=False
    ),
    "ReduceLROnPlateau": lambda o: ReduceLROnPlateau(o, patience=0),
    "SequentialLR": lambda o: lr_scheduler.SequentialLR(
        o, [lr_scheduler.LinearLR(o, 0.1, total_iters=2), lr_scheduler.ExponentialLR(o, 0.5)], [2]
    ),
    "ChainedScheduler": lambda o: lr_scheduler.ChainedScheduler(
        [lr_scheduler.ConstantLR(o, 0.5, total_iters=2), lr_scheduler.ExponentialLR(o, 0.5)]
    ),
}
every_scheduler = pytest.mark.parametrize("make_scheduler", SCHEDULERS.values(), ids=SCHEDULERS)


def step_scheduler(scheduler: LRScheduler) -> None:
    """One epoch further; the validation loss does not improve."""
    scheduler.step(1.0) if isinstance(scheduler, ReduceLROnPlateau) else scheduler.step()


def scheduled_rates(make_scheduler: MakeScheduler) -> list[float]:
    """The rate of each epoch without a recipe."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=RATE)
    scheduler = make_scheduler(optimizer)
    rates: list[float] = []
    for _ in range(EPOCHS):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        step_scheduler(scheduler)
    return rates
