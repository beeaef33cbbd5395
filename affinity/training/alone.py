"""One training by itself, as an ensemble gives it back."""

import math
from collections.abc import Sequence
from dataclasses import replace

from affinity.errors import DivergenceError
from affinity.sharing import Sharing
from affinity.tasks import Replicate, Task

from .initialization import Initialization
from .loop import train
from .members import Member
from .settings import TrainingSettings
from .trained_network import TrainedNetwork


def train_alone(
    network: Sharing,
    tasks: Sequence[Task],
    member: Member,
    replicates: Sequence[Replicate],
    settings: TrainingSettings,
    keep: bool,
    reason: str | None,
    start: Initialization | None = None,
) -> TrainedNetwork:
    """Train one member by itself; a loss that diverges marks the result.

    Args:
        network: Starts from the replicate's seed.
        tasks: All tasks, in the order of the targets' columns.
        member: What is trained.
        replicates: What the member refers to.
        settings: How to train.
        keep: Whether to return parameters and predictions.
        reason: Why it is trained by itself; None where there is nothing to say.
        start: What it started from, where it goes on from something.
    """
    try:
        result = train(network, tasks, replicates[member.replicate], settings, start=start)
    except DivergenceError as error:
        nothing = dict.fromkeys(network.names, math.nan)
        result = TrainedNetwork(
            tasks=network.names,
            replicate=member.replicate,
            training_loss=nothing,
            validation_loss=nothing,
            evaluation_loss=nothing,
            test_loss=nothing,
            test_metric=nothing,
            best_epoch=0,
            best_epoch_of_task=dict.fromkeys(network.names, 0),
            epochs=0,
            seconds=0.0,
            n_parameters=sum(parameter.numel() for parameter in network.parameters()),
            diverged=str(error),
        )
    return replace(
        result,
        replicate=member.replicate,
        alone=reason,
        state=result.state if keep else None,
        predictions=result.predictions if keep else None,
    )
