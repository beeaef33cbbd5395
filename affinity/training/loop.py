"""The training loop: batches, losses, step, early stopping, the best state kept."""

import math
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from affinity import storage
from affinity.errors import DivergenceError
from affinity.progress import track
from affinity.sharing import Sharing, check_fit
from affinity.tasks import Examples, Replicate, Task

from .batch_losses import LossByTask, losses_of_batches
from .checkpoint import Checkpoint, optimizer_tensors, read_checkpoint, restore_optimizer
from .device import find_device, move_rows, move_to_cpu, use_device, use_seed
from .initialization import Initialization
from .judge import (
    describe_divergence,
    losses_of,
    metrics_of,
    predict,
    scales_of,
    score_of,
    score_test_rows,
)
from .objectives import Balance
from .rows import columns_of, labelled, normalizes_batches, ranks
from .settings import TrainingSettings
from .trained_network import TrainedNetwork
from .weight_average import move_average

Watch = Callable[[LossByTask, Callable[[], LossByTask]], object]
"""Called before every backward pass with the losses of the tasks that the batch has labels for, and
a closure that computes them again."""


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
    """Train `network` in place until its validation loss stops falling; keep its best state.

    Only rows labelled for at least one of the network's tasks are used. The validation loss is
    the objective's (`Objective.score`): unless it says otherwise, the mean over tasks of the loss
    divided by that of the best constant prediction, so that no task's scale dominates.

    Args:
        network: Predicts some or all of `tasks`.
        tasks: The tasks, in the order of the targets' columns.
        replicate: The rows, and the seed that decides their order and the dropout masks.
        watch: Called before every backward pass, as a recorder needs.
        prepare: Called with the optimizer before the first step, for a recorder that reads it.
        checkpoint: A file written after every epoch. If it exists, training continues from it, with
            the result of an uninterrupted training, bit for bit on a CPU.
        start: Learning-rate scale of each parameter, and the values that parameters are pulled to.
            The caller has already put its state into the network.

    Raises:
        DivergenceError: If a loss becomes NaN or infinite.
        InputError: If the network predicts an unknown task, its parts do not fit, no row is
            labelled for its tasks, the objective names an unknown task, or the checkpoint is of
            another training.
    """
    device = find_device(settings.device)
    with use_device(network, device):
        start = start or Initialization()
        return _train(
            network, tasks, replicate, settings, device, watch, prepare, checkpoint, start
        )


def _train(
    network: Sharing,
    tasks: Sequence[Task],
    replicate: Replicate,
    settings: TrainingSettings,
    device: torch.device,
    watch: Watch | None,
    prepare: Callable[[torch.optim.Optimizer], object] | None,
    checkpoint: Path | None,
    start: Initialization,
) -> TrainedNetwork:
    """`train` with the network on the device; test and selection rows stay on the CPU."""
    began = time.perf_counter()
    start = replace(start, toward={name: value.to(device) for name, value in start.toward.items()})
    settings.objective.check_tasks([task.name for task in tasks])
    columns = columns_of(network.names, tasks)
    network_tasks = [tasks[column] for column in columns]
    check_fit(network, tasks, replicate.training.inputs_of(slice(2)).to(device))
    rows, training = labelled(replicate.training, columns, network.names)
    _, validation = labelled(replicate.validation, columns, network.names)
    scales = scales_of(network_tasks, training, validation)
    training, validation = move_rows(training, device), move_rows(validation, device)
    balance = settings.objective.start(network.names, next(network.parameters()).detach())
    run = _Run(network, balance, settings, replicate, checkpoint, start)
    normalizes = normalizes_batches(network)
    task_losses = losses_of_batches(network, network_tasks)
    if prepare is not None:
        prepare(run.optimizer)
    with use_seed(replicate.seed), track("training", settings.epochs) as progress:
        run.resume()
        progress.advance(run.epoch)
        while run.epoch < settings.epochs and run.epoch - run.best_epoch < settings.patience:
            run.begin_epoch()
            order = ranks(len(replicate.training), replicate.seed, run.epoch)[rows].argsort()
            epoch_losses: list[Tensor] = []
            for examples in settings.sampling(
                training, order, settings.batch_size, replicate.seed * 1_000_003 + run.epoch
            ):
                if normalizes and epoch_losses and len(examples) == 1 < settings.batch_size:
                    continue
                run.step += 1

                def closure(examples: Examples = examples) -> LossByTask:
                    with settings.autocast(device):
                        return _present(task_losses(examples), examples)

                with settings.autocast(device):
                    losses = task_losses(examples)
                _check_finite(losses, run.step)
                if watch is not None:
                    watch(_present(losses, examples), closure)
                together = torch.stack(list(losses.values()))
                is_present = examples.labelled.any(dim=0)
                run.optimizer.zero_grad()
                rest = together.new_zeros(()) + start.penalty(network)
                balance.backward(list(losses.values()), is_present, rest)
                network.before_step()
                run.optimizer.step()
                network.after_step(settings.learning_rate_at(run.epoch))
                run.end_step()
                epoch_losses.append(together.detach().where(is_present, torch.nan))
            balance.end_epoch(torch.stack(epoch_losses).nanmean(dim=0).nan_to_num(nan=1.0))
            for weights in (nullcontext, run.averaged) if run.average else (nullcontext,):
                with weights():
                    reached = losses_of(network_tasks, predict(network, validation), validation)
                    run.see(reached, scales)
            run.save()
            progress.advance()
    network.load_state_dict(run.best_state)
    test = _of(replicate.test, columns)
    target_scales = None if replicate.target_scales is None else replicate.target_scales[columns]
    predictions = predict(network, test)
    evaluation_loss, evaluation_metric = _evaluate(
        network, network_tasks, replicate.evaluation, columns, target_scales
    )
    return TrainedNetwork(
        tasks=network.names,
        replicate=0,
        training_loss=losses_of(network_tasks, predict(network, training), training),
        validation_loss=losses_of(network_tasks, predict(network, validation), validation),
        evaluation_loss=evaluation_loss,
        test_loss=losses_of(network_tasks, predictions, test),
        best_epoch=run.best_epoch,
        best_epoch_of_task={name: epoch for name, (_, epoch) in run.lowest.items()},
        epochs=run.epoch,
        seconds=time.perf_counter() - began,
        n_parameters=sum(parameter.numel() for parameter in network.parameters()),
        state=move_to_cpu(run.best_state),
        predictions=predictions,
        evaluation_metric=evaluation_metric,
        **score_test_rows(network_tasks, predictions, test, target_scales)._asdict(),
    )


def train_one(
    network: Sharing,
    tasks: Sequence[Task],
    replicates: Sequence[Replicate],
    number: int,
    settings: TrainingSettings,
    *,
    start: Initialization | None = None,
    keep: bool = False,
    unbatched_reason: str | None = None,
) -> TrainedNetwork:
    """Train one network on replicate `number`; a loss that diverges marks the result.

    The network was initialized with the replicate's seed; `start` is that initialization. With
    `keep`, the result holds parameters and predictions; it also holds `unbatched_reason`, why the
    network is not trained together with others.
    """
    try:
        result = train(network, tasks, replicates[number], settings, start=start)
    except DivergenceError as error:
        undefined = dict.fromkeys(network.names, math.nan)
        result = TrainedNetwork(
            tasks=network.names,
            replicate=number,
            training_loss=undefined,
            validation_loss=undefined,
            evaluation_loss=undefined,
            test_loss=undefined,
            test_metric=undefined,
            best_epoch=0,
            best_epoch_of_task=dict.fromkeys(network.names, 0),
            epochs=0,
            seconds=0.0,
            n_parameters=sum(parameter.numel() for parameter in network.parameters()),
            diverged=str(error),
        )
    return replace(
        result,
        replicate=number,
        unbatched_reason=unbatched_reason,
        state=result.state if keep else None,
        predictions=result.predictions if keep else None,
    )


class _Run:
    """The state of a training, as checkpoints store it."""

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
            + (f", {settings.precision}" if settings.precision != "float32" else "")
        )
        by_scale: dict[float, list[Tensor]] = {}
        for name, parameter in network.named_parameters():
            if parameter.requires_grad:
                by_scale.setdefault(start.scale_of(name), []).append(parameter)
        groups: list[dict[str, Sequence[Tensor] | float]] = [
            {"params": parameters, "lr_scale": scale} for scale, parameters in by_scale.items()
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
        self.average = _copy_of(network) if settings.average_weights else {}
        self.steps_before = 0  # steps of the epochs before this one

    def begin_epoch(self) -> None:
        """Set the learning rate and the mode."""
        self.epoch += 1
        self.steps_before = self.step
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.learning_rate_at(self.epoch) * group["lr_scale"]
        self.network.train()
        self.start.settle(self.network)

    def end_step(self) -> None:
        """Move the average of the weights."""
        if self.average:
            n_steps = self.steps_before // (self.epoch - 1) if self.epoch > 1 else self.step
            move_average(self.average, self.network.state_dict(), n_steps)

    @contextmanager
    def averaged(self) -> Generator[None]:
        """The network has the averaged weights inside the block, and its own again after it."""
        own = _copy_of(self.network)
        self.network.load_state_dict(self.average)
        try:
            yield
        finally:
            self.network.load_state_dict(own)

    def see(self, losses: dict[str, float], scales: dict[str, float]) -> None:
        """Keep the network's state if these validation losses are the best so far."""
        for name, loss in losses.items():
            if loss < self.lowest[name][0] or math.isnan(loss):
                self.lowest[name] = loss, self.epoch
        score = score_of(losses, scales, self.settings.objective)
        if score < self.best or math.isnan(score):
            self.best, self.best_epoch, self.best_state = score, self.epoch, _copy_of(self.network)

    def save(self) -> None:
        """Write the checkpoint."""
        if self.checkpoint is not None:
            storage.save(
                Checkpoint(
                    run=self.identity,
                    epoch=self.epoch,
                    step=self.step,
                    best=self.best,
                    best_epoch=self.best_epoch,
                    lowest=self.lowest,
                    network=self.network.state_dict(),
                    best_network=self.best_state,
                    optimizer=optimizer_tensors(self.optimizer),
                    balance=self.balance.state_dict(),
                    random=torch.get_rng_state(),
                    average=self.average,
                ),
                self.checkpoint,
            )

    def resume(self) -> None:
        """Continue from the checkpoint, if there is one."""
        if self.checkpoint is None:
            return
        before = read_checkpoint(self.checkpoint, self.identity)
        if before is None:
            return
        self.network.load_state_dict(before.network)
        self.best_state = dict(before.best_network)
        for name, value in before.average.items():
            self.average[name].copy_(value)
        restore_optimizer(self.optimizer, before.optimizer)
        self.balance.load_state_dict(before.balance)
        torch.set_rng_state(before.random)
        self.epoch, self.step = before.epoch, before.step
        self.best, self.best_epoch = before.best, before.best_epoch
        self.lowest = dict(before.lowest)


def _evaluate(
    network: Sharing,
    tasks: Sequence[Task],
    rows: Examples | None,
    columns: Sequence[int],
    target_scales: Tensor | None,
) -> tuple[dict[str, float], dict[str, float]]:
    """The losses on these rows, and the metrics of the tasks that are judged by them."""
    if rows is None or len(rows) == 0:
        return dict.fromkeys(network.names, math.nan), {}
    rows = _of(rows, columns)
    predictions = predict(network, rows)
    judged = {task.name for task in tasks if task.is_judged_by_metric}
    metrics = metrics_of(tasks, predictions, rows, target_scales) if judged else {}
    losses = losses_of(tasks, predictions, rows)
    return losses, {name: value for name, value in metrics.items() if name in judged}


def _of(rows: Examples, columns: Sequence[int]) -> Examples:
    return rows.with_targets(rows.targets[:, list(columns)])


def _present(losses: LossByTask, examples: Examples) -> LossByTask:
    """The losses of the tasks that this batch has labels for."""
    is_present = examples.labelled.any(dim=0).tolist()
    return {
        name: loss for (name, loss), here in zip(losses.items(), is_present, strict=True) if here
    }


def _check_finite(losses: LossByTask, step: int) -> None:
    values = torch.stack(list(losses.values())).tolist()
    for name, value in zip(losses, values, strict=True):
        if not math.isfinite(value):
            raise DivergenceError(describe_divergence(name, value, tuple(losses), step))


def _copy_of(network: Sharing) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}
