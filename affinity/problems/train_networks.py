"""Measure networks: train sets of tasks on replicates, as many at once as fit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from affinity.errors import InputError
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
    works_at_once,
)

from .problem import Problem

Part = Literal[
    "training_loss",
    "validation_loss",
    "evaluation_loss",
    "test_loss",
    "test_metric",
    "best_epoch_of_task",
]


@dataclass(frozen=True, eq=False)
class TrainingResults:
    """Losses and metrics of networks on replicates; NaN where a network has no such task.

    Args:
        networks: The sets of tasks that were trained together.
        tasks: All tasks of the problem.
        test_loss: ``[network replicate task]``.
        validation_loss: ``[network replicate task]``; of the rows that decided when to stop.
        evaluation_loss: ``[network replicate task]``; of development rows kept for decisions.
        test_metric: ``[network replicate task]``.
        parameters: Parameters of each network.
        seconds: Time spent on each training.
        diverged: What went wrong, for each training that diverged: its numbers are NaN.
        trained: The trainings of each network, with parameters and predictions, where they were
            kept.
        test_blocks: For each network the test loss of its tasks on blocks of their test rows
            (`affinity.training.judge.block_losses`), ``[replicate block]``.
        training_loss: ``[network replicate task]``; of the rows learned from, dropout off.
        best_epoch: ``[network replicate]``; the epoch whose parameters were kept.
        best_epoch_of_task: ``[network replicate task]``; the epoch that a task alone would keep.
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
    training_loss: Float[Tensor, "network replicate task"] | None = None
    best_epoch: Float[Tensor, "network replicate"] | None = None
    best_epoch_of_task: Float[Tensor, "network replicate task"] | None = None

    @classmethod
    def of_losses(
        cls,
        networks: Sequence[frozenset[str]],
        tasks: tuple[str, ...],
        evaluation_loss: Float[Tensor, "network replicate task"],
    ) -> "TrainingResults":
        """Evaluation losses from wherever they come; of the rest nothing is known."""
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
    on: Sequence[Sequence[int]] | None = None,
    starts: Mapping[frozenset[str], Initialization] | None = None,
) -> TrainingResults:
    """Train every network on every replicate, and judge it.

    Networks are trained at once (`train_members`) where the objective and the sampling allow it,
    otherwise each by itself in processes (`fan_out`).

    Everything compared is paired: on one replicate all networks start from the same trunk and
    heads and see the same rows in the same order.

    Args:
        problem: Tasks, trunk and heads.
        networks: Sets of task names; a set that comes twice is trained once.
        replicates: Draws of rows, from `Problem.replicates`.
        settings: How to train; the problem's own settings if None.
        sharing: How the tasks of a network share: a name in `SHARINGS`, or what makes a network.
        store: A folder in which finished trainings are kept; the same call does what is missing.
        backend: Train each network by itself on ``loky``, ``ray`` or ``dask``; chosen if None.
        keep: Whether to keep parameters and predictions; then all are trained here and anew.
        on: The replicates that each network is trained on; all of them if None.
        starts: What a network starts from, where it is not fresh parameters alone.

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
    everywhere = range(len(replicates))
    wanted: dict[frozenset[str], set[int]] = {}
    for network, some in zip(networks, on or [everywhere] * len(networks), strict=True):
        wanted.setdefault(network, set()).update(some)
    members = [
        Member(network, replicate) for network, some in wanted.items() for replicate in sorted(some)
    ]
    make = SHARINGS.get(sharing) if isinstance(sharing, str) else sharing
    if make is None:
        raise InputError(f"Expected a sharing among {list(SHARINGS)}, but got {sharing!r}.")
    if keep and backend is not None:
        raise InputError(
            f"Expected networks to be kept, or to be trained on {backend!r}: those trained there "
            "leave only their scores. Leave one of the two out."
        )
    sample = replicates[0].training.inputs[:2]
    settings = settings or problem.settings
    kept = None if store is None else Store(Path(store))
    begin = None if starts is None else [starts.get(m.tasks, Initialization()) for m in members]

    def build(tasks: tuple[Task, ...]) -> Sharing:
        return make(tasks, problem.trunk, problem.head, sample)

    if keep or (backend is None and works_at_once(problem.tasks, settings)):
        results = train_members(
            build, problem.tasks, members, replicates, settings, keep, store=kept, starts=begin
        )
    else:
        results = fan_out(
            build,
            problem.tasks,
            members,
            replicates,
            settings,
            backend=backend or "loky",
            store=kept,
            starts=begin,
        )
    of: dict[frozenset[str], list[tuple[int, TrainedNetwork]]] = {network: [] for network in wanted}
    for member, result in zip(members, results, strict=True):
        of[member.tasks].append((member.replicate, result))

    def table(part: Part) -> Tensor:
        values = torch.full((len(of), len(replicates), len(problem.tasks)), torch.nan).double()
        for row, trained in enumerate(of.values()):
            for replicate, result in trained:
                scores: dict[str, float] = getattr(result, part)
                for name, score in scores.items():
                    values[row, replicate, problem.names.index(name)] = score
        return values

    seconds = torch.full((len(of), len(replicates)), torch.nan)
    best_epoch = torch.full_like(seconds, torch.nan)
    for row, trained in enumerate(of.values()):
        for replicate, result in trained:
            seconds[row, replicate] = result.seconds
            best_epoch[row, replicate] = result.best_epoch
    return TrainingResults(
        networks=tuple(of),
        tasks=problem.names,
        test_loss=table("test_loss"),
        validation_loss=table("validation_loss"),
        evaluation_loss=table("evaluation_loss"),
        test_metric=table("test_metric"),
        parameters=tuple(trained[0][1].n_parameters for trained in of.values()),
        seconds=seconds,
        diverged=tuple(result.diverged for result in results if result.diverged),
        trained=tuple(tuple(r for _, r in trained) for trained in of.values()) if keep else (),
        test_blocks=tuple(_blocks(trained, len(replicates)) for trained in of.values()),
        training_loss=table("training_loss"),
        best_epoch=best_epoch,
        best_epoch_of_task=table("best_epoch_of_task"),
    )


def _blocks(trained: Sequence[tuple[int, TrainedNetwork]], n_replicates: int) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for replicate, result in trained:
        for name, losses in result.test_blocks.items():
            if name not in found:
                found[name] = torch.full((n_replicates, len(losses)), torch.nan)
            found[name][replicate] = torch.tensor(losses)
    return found
