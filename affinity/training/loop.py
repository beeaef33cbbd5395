"""The training loop: batches, losses, step, early stopping, the best state kept."""

import math
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from affinity.errors import DivergenceError
from affinity.progress import track
from affinity.sharing import Sharing, check_fit
from affinity.tasks import Examples, Replicate, Task

from .checkpoint import optimizer_tensors, read_checkpoint, restore_optimizer, write_checkpoint
from .columns import columns_of, labelled
from .divergence import divergence
from .initialization import Initialization
from .judge import block_losses, losses_of, metrics_of, predict, scales_of, score_of
from .objectives import Balance
from .order import ranks
from .settings import TrainingSettings
from .trained_network import TrainedNetwork

Losses = dict[str, Tensor]
Watch = Callable[[Losses, Callable[[], Losses]], object]
"""Called before every backward pass with the losses of the tasks that the batch has labels for, and
a closure that computes them anew."""


def train(
    network: Sharing,
    tasks: Sequence[Task],
    replicate: Replicate,
    settings: TrainingSettings,
    watch: Watch | None = None,
    prepare: Callable[[torch.optim.Optimizer], object] | None = None,
    checkpoint: Path | None = None,
    start: Initialization | None = None,
) -> TrainedNetwork:
    """Train `network` in place until its validation loss no longer falls; keep its best state.

    Only rows labelled for at least one of the network's tasks are used. The validation loss is
    the mean over tasks of the loss divided by that of the best constant prediction, so that no
    task's scale dominates.

    Args:
        network: Predicts some or all of `tasks`.
        tasks: The tasks, in the order of the targets' columns.
        replicate: The rows, and the seed that decides their order and the dropout masks.
        settings: How to train.
        watch: Called before every backward pass: the place of a recorder.
        prepare: Called with the optimizer before the first step, for a recorder that looks at it.
        checkpoint: A file written after every epoch. Where it exists, the training goes on from
            it, and ends where the unbroken one ends, bit for bit on a CPU.
        start: How fast each parameter may go, and what it is drawn to; its state is put into the
            network by whoever calls.

    Raises:
        DivergenceError: If a loss becomes NaN or infinite.
        InputError: If the network predicts an unknown task, its parts do not fit, no row is
            labelled for its tasks, or the checkpoint is of another training.
    """
    began = time.perf_counter()
    start = start or Initialization()
    columns = columns_of(network.names, tasks)
    mine = [tasks[column] for column in columns]
    check_fit(network, tasks, replicate.training.inputs[:2])
    rows, training = labelled(replicate.training, columns, network.names)
    _, validation = labelled(replicate.validation, columns, network.names)
    scales = scales_of(mine, training, validation)
    balance = settings.objective.start(network.names, next(network.parameters()).detach())
    run = _Run(network, balance, settings, replicate, checkpoint, start)
    if prepare is not None:
        prepare(run.optimizer)
    with _seeded(replicate.seed), track("training", settings.epochs) as progress:
        run.resume()
        progress.advance(run.epoch)
        while run.epoch < settings.epochs and run.epoch - run.best_epoch < settings.patience:
            run.begin_epoch()
            order = ranks(len(replicate.training), replicate.seed, run.epoch)[rows].argsort()
            seen: list[Tensor] = []
            for examples in settings.sampling(
                training, order, settings.batch_size, replicate.seed * 1_000_003 + run.epoch
            ):
                run.step += 1

                def closure(examples: Examples = examples) -> Losses:
                    return _present(_task_losses(network, mine, examples), examples)

                losses = _task_losses(network, mine, examples)
                _check_finite(losses, run.step)
                if watch is not None:
                    watch(_present(losses, examples), closure)
                together = torch.stack(list(losses.values()))
                is_present = examples.labelled.any(dim=0)
                run.optimizer.zero_grad()
                rest = together.new_zeros(()) + network.penalty() + start.penalty(network)
                balance.backward(list(losses.values()), is_present, rest)
                run.optimizer.step()
                seen.append(together.detach().where(is_present, torch.nan))
            balance.end_epoch(torch.stack(seen).nanmean(dim=0).nan_to_num(nan=1.0))
            run.end_epoch(losses_of(mine, predict(network, validation), validation), scales)
            progress.advance()
    network.load_state_dict(run.best_state)
    test = _of(replicate.test, columns)
    predictions = predict(network, test)
    return TrainedNetwork(
        tasks=network.names,
        replicate=0,
        training_loss=losses_of(mine, predict(network, training), training),
        validation_loss=losses_of(mine, predict(network, validation), validation),
        evaluation_loss=_evaluation_loss(network, mine, replicate.evaluation, columns),
        test_loss=losses_of(mine, predictions, test),
        test_metric=metrics_of(mine, predictions, test),
        best_epoch=run.best_epoch,
        best_epoch_of_task={name: epoch for name, (_, epoch) in run.lowest.items()},
        epochs=run.epoch,
        seconds=time.perf_counter() - began,
        n_parameters=sum(parameter.numel() for parameter in network.parameters()),
        state=run.best_state,
        predictions=predictions,
        test_blocks={
            task.name: block_losses(task, predictions[task.name], target)
            for task, target in zip(mine, test.targets.T, strict=True)
        },
    )


class _Run:
    """Where a training stands: what a checkpoint holds."""

    def __init__(
        self,
        network: Sharing,
        balance: Balance,
        settings: TrainingSettings,
        replicate: Replicate,
        checkpoint: Path | None,
        start: Initialization,
    ) -> None:
        self.network = network
        self.start = start
        self.balance = balance
        self.settings = settings
        self.checkpoint = checkpoint
        self.identity = (
            f"{settings}, tasks {network.names}, seed {replicate.seed}, "
            f"{len(replicate.training)} training rows"
            + (f", {start.description}" if start.changes_training else "")
        )
        by_scale: dict[float, list[Tensor]] = {}
        for name, parameter in network.named_parameters():
            if parameter.requires_grad:
                by_scale.setdefault(start.scale_of(name), []).append(parameter)
        groups: list[dict[str, Any]] = [
            {"params": some, "lr_scale": scale} for scale, some in by_scale.items()
        ]
        if learned := list(balance.parameters()):
            groups.append({"params": learned, "weight_decay": 0.0, "lr_scale": 1.0})
        self.optimizer = torch.optim.AdamW(
            groups, lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
        )
        self.epoch = self.step = self.best_epoch = 0
        self.best = math.inf
        self.lowest: dict[str, tuple[float, int]] = dict.fromkeys(network.names, (math.inf, 0))
        """The lowest validation loss of each task, and its epoch."""
        self.best_state = _copy_of(network)

    def begin_epoch(self) -> None:
        """Set the learning rate and the mode."""
        self.epoch += 1
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.learning_rate_at(self.epoch) * group["lr_scale"]
        self.network.train()
        self.start.settle(self.network)

    def end_epoch(self, losses: dict[str, float], scales: dict[str, float]) -> None:
        """Keep the state if it is the best one, and write the checkpoint."""
        for name, loss in losses.items():
            if loss < self.lowest[name][0] or math.isnan(loss):
                self.lowest[name] = loss, self.epoch
        score = score_of(losses, scales)
        if score < self.best or math.isnan(score):
            self.best, self.best_epoch, self.best_state = score, self.epoch, _copy_of(self.network)
        if self.checkpoint is not None:
            write_checkpoint(
                self.checkpoint,
                {
                    **_under("network", self.network.state_dict()),
                    **_under("best", self.best_state),
                    **_under("optimizer", optimizer_tensors(self.optimizer)),
                    **_under("balance", self.balance.state_dict()),
                    "random": torch.get_rng_state(),
                },
                {
                    "run": self.identity,
                    "epoch": self.epoch,
                    "step": self.step,
                    "best": self.best,
                    "best_epoch": self.best_epoch,
                    "lowest": self.lowest,
                },
            )

    def resume(self) -> None:
        """Go back to where the checkpoint was written, if there is one."""
        if self.checkpoint is None:
            return
        found = read_checkpoint(self.checkpoint, self.identity)
        if found is None:
            return
        tensors, facts = found
        self.network.load_state_dict(_from_under("network", tensors))
        self.best_state = _from_under("best", tensors)
        restore_optimizer(self.optimizer, _from_under("optimizer", tensors))
        self.balance.load_state_dict(_from_under("balance", tensors))
        torch.set_rng_state(tensors["random"])
        self.epoch, self.step = facts["epoch"], facts["step"]
        self.best, self.best_epoch = facts["best"], facts["best_epoch"]
        self.lowest = {name: tuple(value) for name, value in facts["lowest"].items()}


def _evaluation_loss(
    network: Sharing, tasks: Sequence[Task], rows: Examples | None, columns: Sequence[int]
) -> dict[str, float]:
    if rows is None or len(rows) == 0:
        return dict.fromkeys(network.names, math.nan)
    rows = _of(rows, columns)
    return losses_of(tasks, predict(network, rows), rows)


def _of(rows: Examples, columns: Sequence[int]) -> Examples:
    return Examples(inputs=rows.inputs, targets=rows.targets[:, list(columns)])


def _task_losses(network: Sharing, tasks: Sequence[Task], examples: Examples) -> Losses:
    predictions = network(examples.inputs)
    return {
        task.name: task.loss(predictions[task.name], targets)
        for task, targets in zip(tasks, examples.targets.T, strict=True)
    }


def _present(losses: Losses, examples: Examples) -> Losses:
    """The losses of the tasks that this batch has labels for."""
    is_present = examples.labelled.any(dim=0).tolist()
    return {
        name: loss for (name, loss), here in zip(losses.items(), is_present, strict=True) if here
    }


def _check_finite(losses: Losses, step: int) -> None:
    for name, loss in losses.items():
        value = float(loss.detach())
        if not math.isfinite(value):
            raise DivergenceError(divergence(name, value, tuple(losses), step))


def _copy_of(network: Sharing) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}/{name}": tensor for name, tensor in tensors.items()}


def _from_under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    start = f"{prefix}/"
    return {n.removeprefix(start): t for n, t in tensors.items() if n.startswith(start)}


@contextmanager
def _seeded(seed: int) -> Generator[None]:
    """Random numbers from this seed inside the block, and those from before it afterwards."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
