"""Training results: sets of tasks trained together on replicates, batched where possible."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from affinity.errors import InputError, check_choice
from affinity.sharing import SHARINGS, MakeSharing, Sharing
from affinity.tasks import Replicate, Task
from affinity.training import (
    Initialization,
    Member,
    Store,
    TrainedNetwork,
    TrainingSettings,
    fan_out,
    train_members,
    train_on_devices,
    works_at_once,
)
from affinity.training.device import find_gpus

from .problem import Problem

FEWEST_PER_GPU = 64
"""Fewer networks than this per GPU take less time on one, without another process."""


@dataclass(frozen=True, eq=False)
class TrainingResults:
    """Losses and metrics of networks on replicates; NaN where a network has no such task.

    Args:
        networks: The sets of tasks that were trained together.
        test_loss: ``[network replicate task]``.
        validation_loss: ``[network replicate task]``; of the rows used for early stopping.
        evaluation_loss: ``[network replicate task]``; of development rows used for decisions.
        test_metric: ``[network replicate task]``.
        diverged: A message for each training that diverged; its scores are NaN.
        trained: The trained networks with parameters and predictions, if they were kept.
        test_blocks: For each network the test loss of its tasks on blocks of their test rows
            (`affinity.training.judge.block_losses`), ``[replicate block]``.
    """

    networks: tuple[frozenset[str], ...]
    tasks: tuple[str, ...]
    test_loss: Float[Tensor, "network replicate task"]
    validation_loss: Float[Tensor, "network replicate task"]
    evaluation_loss: Float[Tensor, "network replicate task"]
    test_metric: Float[Tensor, "network replicate task"]
    parameters: tuple[int, ...]
    seconds: Float[Tensor, "network replicate"]
    diverged: tuple[str, ...] = ()
    trained: tuple[tuple[TrainedNetwork, ...], ...] = ()
    test_blocks: tuple[dict[str, Tensor], ...] = ()

    @classmethod
    def from_losses(
        cls,
        networks: Sequence[frozenset[str]],
        tasks: tuple[str, ...],
        evaluation_loss: Float[Tensor, "network replicate task"],
    ) -> "TrainingResults":
        """Evaluation losses from any source; all other scores are NaN."""
        unknown = torch.full_like(evaluation_loss, torch.nan)
        return cls(
            networks=tuple(networks),
            tasks=tasks,
            test_loss=unknown,
            validation_loss=unknown,
            evaluation_loss=evaluation_loss,
            test_metric=unknown,
            parameters=(0,) * len(networks),
            seconds=torch.zeros(evaluation_loss.shape[:2]),
        )


def train_networks(
    problem: Problem,
    networks: Sequence[frozenset[str]],
    replicates: Sequence[Replicate],
    settings: TrainingSettings | None = None,
    sharing: str | MakeSharing = "hard",
    store: str | Path | None = None,
    backend: str | None = None,
    keep: bool = False,
    starts: Mapping[frozenset[str], Initialization] | None = None,
) -> TrainingResults:
    """Train every network on every replicate, and evaluate it.

    Training is batched over networks (`train_members`) if the objective and the sampling allow it,
    of many networks with one process for each visible GPU (`train_on_devices`);
    otherwise each network is trained in a process of its own (`fan_out`).

    Comparisons are paired: on one replicate all networks start from the same trunk and heads and
    see the same rows in the same order.

    Args:
        networks: Sets of task names; duplicates are trained once.
        replicates: Draws of rows, from `Problem.replicates`.
        settings: How to train; the problem's own settings if None.
        sharing: How the tasks of a network share: a name in `SHARINGS`, or what makes a network.
        store: A folder of finished trainings, which are not repeated.
        backend: Where to train networks one by one: ``loky``, ``ray``, ``dask``; chosen if None.
        keep: Whether to keep parameters and predictions; the store is not used then.
        starts: The initialization of networks that do not start from new parameters.

    Raises:
        InputError: If a task or the sharing is unknown, a task has no labelled rows, a start does
            not fit its network, or both `keep` and a `backend` are asked for.

    Example:
        >>> from affinity.problems import load_digits
        >>> problem = load_digits()
        >>> odd_and_ink = frozenset({"odd", "ink"})
        >>> settings = TrainingSettings(epochs=1)
        >>> measured = train_networks(problem, [odd_and_ink], problem.replicates(2), settings)
        >>> measured.test_loss.shape  # network replicate task
        torch.Size([1, 2, 8])
    """
    members = [
        Member(network, number)
        for network in dict.fromkeys(networks)
        for number in range(len(replicates))
    ]
    results = train_each(
        problem, members, replicates, settings, sharing, store, backend, keep, starts
    )
    by_network: dict[frozenset[str], list[TrainedNetwork]] = {}
    for member, result in zip(members, results, strict=True):
        by_network.setdefault(member.tasks, []).append(result)

    def table(name: str) -> Tensor:
        values = [
            [
                [getattr(result, name).get(task, math.nan) for task in problem.names]
                for result in trained
            ]
            for trained in by_network.values()
        ]
        shape = len(by_network), len(replicates), len(problem.tasks)
        return torch.tensor(values, dtype=torch.double).reshape(shape)

    return TrainingResults(
        networks=tuple(by_network),
        tasks=problem.names,
        test_loss=table("test_loss"),
        validation_loss=table("validation_loss"),
        evaluation_loss=table("evaluation_loss"),
        test_metric=table("test_metric"),
        parameters=tuple(trained[0].n_parameters for trained in by_network.values()),
        seconds=torch.tensor([[each.seconds for each in row] for row in by_network.values()]),
        diverged=tuple(result.diverged for result in results if result.diverged),
        trained=tuple(map(tuple, by_network.values())) if keep else (),
        test_blocks=tuple(map(_blocks, by_network.values())),
    )


def train_each(
    problem: Problem,
    members: Sequence[Member],
    replicates: Sequence[Replicate],
    settings: TrainingSettings | None = None,
    sharing: str | MakeSharing = "hard",
    store: str | Path | None = None,
    backend: str | None = None,
    keep: bool = False,
    starts: Mapping[frozenset[str], Initialization] | None = None,
) -> list[TrainedNetwork]:
    """One trained network per member; arguments and errors are those of `train_networks`."""
    if isinstance(sharing, str):
        check_choice("sharing", sharing, SHARINGS, "unknown-sharing")
    make = SHARINGS[sharing] if isinstance(sharing, str) else sharing
    if keep and backend is not None:
        raise InputError(
            f"Expected networks to be kept, or to be trained on {backend!r}: those trained there "
            "leave only their scores. Leave one of the two out.",
            "keep-with-backend",
        )
    sample = replicates[0].training.inputs_of(slice(2))
    settings = settings or problem.settings
    finished = None if store is None else Store(Path(store))
    begin = None if starts is None else [starts.get(m.tasks, Initialization()) for m in members]

    trunk, head = problem.trunk, problem.head  # processes receive these, not the problem

    def build(tasks: tuple[Task, ...]) -> Sharing:
        return make(tasks, trunk, head, sample)

    if keep or (backend is None and works_at_once(problem.tasks, settings)):
        train = partial(train_members, build, problem.tasks, keep=keep, store=finished)
        devices = find_gpus(settings.device)[: len(members) // FEWEST_PER_GPU]
        if len(devices) > 1:
            return train_on_devices(devices, train, members, replicates, settings, begin)
        return train(members, replicates, settings, starts=begin)
    return fan_out(
        build,
        problem.tasks,
        members,
        replicates,
        settings,
        backend=backend or "loky",
        store=finished,
        starts=begin,
    )


def _blocks(trained: Sequence[TrainedNetwork]) -> dict[str, Tensor]:
    """The test losses on blocks of each task, ``[replicate block]``."""
    blocks: dict[str, Tensor] = {}
    for replicate, result in enumerate(trained):
        for name, losses in result.test_blocks.items():
            if name not in blocks:
                blocks[name] = torch.full((len(trained), len(losses)), torch.nan)
            blocks[name][replicate] = torch.tensor(losses)
    return blocks


def merge(parts: Sequence[TrainingResults]) -> TrainingResults:
    """Concatenate results of several calls along the replicates.

    Args:
        parts: Each on replicates of its own; scores are NaN where a network was not trained on a
            replicate. Kept networks are left out.

    Raises:
        InputError: If there are no parts, or they are of different tasks.

    Example:
        >>> def measured(name: str) -> TrainingResults:
        ...     network, loss = frozenset({name}), torch.ones(1, 1, 2)
        ...     return TrainingResults.from_losses([network], ("a", "b"), loss)
        >>> merge([measured("a"), measured("b")]).evaluation_loss[:, :, 0].tolist()
        [[1.0, nan], [nan, 1.0]]
    """
    if not parts or len({part.tasks for part in parts}) != 1:
        raise InputError(
            f"Expected results of the same tasks, but got {sorted({p.tasks for p in parts})}.",
            "different-tasks",
        )
    networks = tuple(dict.fromkeys(network for part in parts for network in part.networks))
    n_tasks = len(parts[0].tasks)
    n_replicates = sum(part.evaluation_loss.shape[1] for part in parts)

    def table(name: str, *rest: int) -> Tensor:
        result = torch.full((len(networks), n_replicates, *rest), math.nan, dtype=torch.double)
        start = 0
        for part in parts:
            values: Tensor = getattr(part, name)
            rows = [networks.index(network) for network in part.networks]
            result[rows, start : start + values.shape[1]] = values.double()
            start += values.shape[1]
        return result

    parameters = {
        network: count
        for part in parts
        for network, count in zip(part.networks, part.parameters, strict=True)
    }
    return TrainingResults(
        networks=networks,
        tasks=parts[0].tasks,
        test_loss=table("test_loss", n_tasks),
        validation_loss=table("validation_loss", n_tasks),
        evaluation_loss=table("evaluation_loss", n_tasks),
        test_metric=table("test_metric", n_tasks),
        parameters=tuple(parameters[network] for network in networks),
        seconds=table("seconds"),
        diverged=tuple(reason for part in parts for reason in part.diverged),
    )
