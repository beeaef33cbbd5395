"""The training loop: batches, losses, step, early stopping, the best state kept."""

import math
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from affinity.errors import DivergenceError
from affinity.progress import track
from affinity.sharing import Sharing, check_fit
from affinity.tasks import Examples, Replicate, Task

from .columns import columns_of, labelled
from .divergence import divergence
from .judge import losses_of, metrics_of, predict, scales_of, score_of
from .order import ranks
from .settings import TrainingSettings
from .trained import Trained

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
) -> Trained:
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

    Raises:
        DivergenceError: If a loss becomes NaN or infinite.
        InputError: If the network predicts an unknown task, its parts do not fit, or no row is
            labelled for its tasks.
    """
    start = time.perf_counter()
    columns = columns_of(network.names, tasks)
    mine = [tasks[column] for column in columns]
    check_fit(network, tasks, replicate.training.inputs[:2])
    rows, training = labelled(replicate.training, columns, network.names)
    _, validation = labelled(replicate.validation, columns, network.names)
    scales = scales_of(mine, training, validation)
    optimizer = torch.optim.AdamW(
        [parameter for parameter in network.parameters() if parameter.requires_grad],
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        fused=True,
    )
    best, best_epoch, best_state = math.inf, 0, _copy_of(network)
    step = epoch = 0
    with _seeded(replicate.seed), track("training", settings.epochs) as progress:
        for epoch in range(1, settings.epochs + 1):
            network.train()
            order = ranks(len(replicate.training), replicate.seed, epoch)[rows].argsort()
            for batch in order.split(settings.batch_size):
                step += 1
                examples = training.take(batch)

                def closure(examples: Examples = examples) -> Losses:
                    return _present(_task_losses(network, mine, examples), examples)

                losses = _task_losses(network, mine, examples)
                _check_finite(losses, step)
                if watch is not None:
                    watch(_present(losses, examples), closure)
                optimizer.zero_grad()
                (torch.stack(list(losses.values())).sum() + network.penalty()).backward()
                optimizer.step()
            score = score_of(losses_of(mine, predict(network, validation), validation), scales)
            if score < best or math.isnan(score):
                best, best_epoch, best_state = score, epoch, _copy_of(network)
            progress.advance()
            if epoch - best_epoch >= settings.patience:
                break
    network.load_state_dict(best_state)
    test = _of(replicate.test, columns)
    predictions = predict(network, test)
    return Trained(
        tasks=network.names,
        replicate=0,
        validation_loss=losses_of(mine, predict(network, validation), validation),
        evaluation_loss=_evaluation_loss(network, mine, replicate.evaluation, columns),
        test_loss=losses_of(mine, predictions, test),
        test_metric=metrics_of(mine, predictions, test),
        best_epoch=best_epoch,
        epochs=epoch,
        seconds=time.perf_counter() - start,
        n_parameters=sum(parameter.numel() for parameter in network.parameters()),
        state=best_state,
        predictions=predictions,
    )


def _of(examples: Examples, columns: Sequence[int]) -> Examples:
    return Examples(inputs=examples.inputs, targets=examples.targets[:, list(columns)])


def _evaluation_loss(
    network: Sharing, tasks: Sequence[Task], rows: Examples | None, columns: Sequence[int]
) -> dict[str, float]:
    if rows is None or len(rows) == 0:
        return dict.fromkeys(network.names, math.nan)
    rows = _of(rows, columns)
    return losses_of(tasks, predict(network, rows), rows)


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


@contextmanager
def _seeded(seed: int) -> Generator[None]:
    """Random numbers from this seed inside the block, and those from before it afterwards."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
