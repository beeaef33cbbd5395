"""The outer loop: lower a loss over batches of tasks."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from affinity.errors import DivergenceError
from affinity.progress import track

from .network import Tensors
from .problem import FewShotProblem
from .random_numbers import generator_of, seeded


def meta_train(
    problem: FewShotProblem,
    parameters: Tensors,
    loss_of: Callable[[Tensors, torch.Generator], Tensor],
    seed: int,
    name: str,
) -> Tensors:
    """Lower a loss with the problem's settings; returns the parameters that it ends with.

    Args:
        problem: Has the settings.
        parameters: Where to start; left as they are.
        loss_of: Loss of the parameters on the tasks or rows that it draws with the generator.
        seed: Decides what is drawn.
        name: Of the method, for progress and errors.

    Raises:
        DivergenceError: If a loss becomes NaN or infinite.
    """
    settings = problem.settings
    parameters = {key: value.clone().requires_grad_() for key, value in parameters.items()}
    optimizer = torch.optim.Adam(parameters.values(), lr=settings.learning_rate)
    generator = generator_of(seed, "meta-training")
    with seeded(seed), track(name, settings.iterations) as progress:
        for iteration in range(settings.iterations):
            loss = loss_of(parameters, generator)
            if not math.isfinite(value := float(loss.detach())):
                raise DivergenceError(
                    f"The loss of {name} became {value} at iteration {iteration} of meta-training. "
                    "Lower the inner rate or the learning rate, or look for extreme inputs."
                )
            for group in optimizer.param_groups:
                group["lr"] = settings.rate_at(iteration)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            progress.advance()
    return {key: value.detach() for key, value in parameters.items()}
