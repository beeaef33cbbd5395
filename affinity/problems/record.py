"""Record a problem: one multi-task training, observed by a recorder."""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

from affinity.errors import InputError, check_number, warn
from affinity.recording import Recorder, RecordingCost, StepKind, Trace, merge_traces
from affinity.recording.settings import DIRECTIONS
from affinity.sharing import Sharing
from affinity.tasks import Examples, Task, loss_on_labelled
from affinity.training import initial, train
from affinity.training.device import move_rows
from affinity.words import count

from .problem import Problem

MANY_TASKS = 16  # from more tasks than this, one measurement visits this many sources in turn
MOST_EXACT = 100
"""From more tasks than this, products of gradients are sketched, since exact ones take a backward
pass per task, and one measurement visits a sixteenth of the sources."""


def steps_between_measurements(problem: Problem) -> int:
    """The usual number of steps from one measurement to the next: 10 for up to 100 tasks.

    Above, a tenth of the number of tasks, since a measurement costs more and takes more memory; but
    at least four measurements fit into the shortest run that early stopping allows. Of a run of
    less than 20 steps, a quarter.
    """
    settings = problem.settings
    n_batches = -(-len(problem.draw(0).training) // settings.batch_size)
    shortest = min(settings.epochs, settings.patience) * n_batches
    usual = 10 if settings.epochs * n_batches >= 20 else max(1, settings.epochs * n_batches // 4)
    return max(usual, min(len(problem.tasks) // 10, shortest // 4))


def record(
    problem: Problem,
    *,
    every: int | None = None,
    seed: int = 0,
    runs: int = 1,
    held_out: bool = False,
    step: StepKind = "gradient",
    layers: bool = False,
    partial: str | Path | None = None,
    on_cost: Callable[[RecordingCost], None] | None = None,
    seconds: float | None = None,
) -> Trace:
    """Train one hard-shared network for all tasks, and record how the tasks affect each other.

    The run uses `problem.replicate(seed)`: development rows only. Recording does not change it.

    Args:
        every: Steps between measurements; `steps_between_measurements` if None.
        seed: Seed of the split, of the initial parameters and of the order of rows.
        runs: How many runs to record, each with its own split and initialization, in one trace.
            Estimators average them and estimate the error between runs, which the steps of a
            single run do not show.
        held_out: Also measure every target on a batch of validation rows, whose noise is
            independent of the gradients; doubles the cost.
        step: The lookahead's step: ``"gradient"``, plain, as in the TAG paper, or ``"optimizer"``,
            the one that the run's Adam would take on the source's gradient alone.
        layers: Also measure each layer of the trunk separately.
        partial: Where to save the measurements made so far if the run is interrupted.
        on_cost: Called with the cost of recording, once per run.
        seconds: Wall time after which a run ends early, with at least two measurements.

    Raises:
        InputError: If a run ends before two measurements were made.
        DivergenceError: If a loss becomes NaN or infinite; the message names the task and step.

    Example:
        >>> from affinity import TrainingSettings, load_digits
        >>> problem = load_digits(width=8).with_settings(TrainingSettings(epochs=2))
        >>> trace = record(problem, every=5)
        >>> trace.steps.tolist(), trace.lookahead_losses.shape  # time source target
        ([0, 5, 10], torch.Size([3, 8, 8]))
    """
    check_number("runs", runs, least=1)
    if runs > 1:
        return merge_traces(
            [
                record(
                    problem,
                    every=every,
                    seed=each,
                    held_out=held_out,
                    step=step,
                    layers=layers,
                    partial=partial,
                    on_cost=on_cost,
                    seconds=None if seconds is None else seconds / runs,
                )
                for each in (seed + 1_000_003 * number for number in range(runs))
            ]
        )
    n_tasks = len(problem.tasks)
    is_sketched = n_tasks > MOST_EXACT and not layers
    every = steps_between_measurements(problem) if every is None else every
    replicate = problem.replicate(seed)
    n_rows = int(replicate.training.labelled.any(dim=1).sum())
    n_steps = problem.settings.epochs * math.ceil(n_rows / problem.settings.batch_size)
    _check_measurements(math.ceil(n_steps / every), every)
    network = initial(problem.network, problem.tasks, seed)
    began = time.monotonic()
    recorder: Recorder | None = None

    def prepare(optimizer: torch.optim.Optimizer) -> None:
        nonlocal recorder
        recorder = Recorder(
            network,
            shared="trunk",
            tasks=problem.names,
            every=every,
            lookahead_every=1,
            step=step,
            optimizer=optimizer,
            sources=min(n_tasks, max(MANY_TASKS, -(-n_tasks // 16))),
            sketch="auto" if not is_sketched else DIRECTIONS,
            layers=2 if layers else None,
        )

    generator = torch.Generator().manual_seed(seed)

    def held_out_losses() -> Callable[[], dict[str, Tensor]]:
        count = min(problem.settings.batch_size, len(replicate.validation))
        rows = torch.randperm(len(replicate.validation), generator=generator)[:count]
        device = next(network.parameters()).device
        batch = move_rows(replicate.validation.take(rows), device)
        return lambda: _losses(network, problem.tasks, batch)

    def watch(losses: dict[str, Tensor], closure: Callable[[], dict[str, Tensor]]) -> None:
        assert recorder is not None
        is_over = seconds is not None and time.monotonic() - began > seconds
        if is_over and recorder.cost.measurements > 1:
            raise _TimeIsOver
        other = held_out_losses() if held_out and recorder.is_due() else None
        recorder.observe(losses, closure=closure, held_out=other)

    try:
        train(network, problem.tasks, replicate, problem.settings, watch=watch, prepare=prepare)
    except _TimeIsOver:
        assert recorder is not None
        measured = count(recorder.cost.measurements, "measurement")
        warn(
            f"The recorded run ended early, after {measured}, since it had {seconds:.0f} seconds. "
            "Affinities describe the start of training only; with more time, all of it.",
            "recording-cut-short",
        )
    except BaseException:
        if partial is not None and recorder is not None:
            with suppress(InputError):  # nothing was measured yet
                recorder.trace().save(partial)
        raise
    assert recorder is not None
    trace = recorder.trace()
    if on_cost is not None:
        on_cost(recorder.cost)
    _check_measurements(len(trace), every)
    return trace


class _TimeIsOver(Exception):  # noqa: N818
    """The run has taken as long as it may."""


def _check_measurements(count: int, every: int) -> None:
    if count < 2:
        raise InputError(
            f"Expected at least two measurements to estimate from, but the run makes {count}: it "
            f"is too short for every={every}. Measure more often, or train for more epochs.",
            "too-few-measurements",
        )


def _losses(network: Sharing, tasks: Sequence[Task], batch: Examples) -> dict[str, Tensor]:
    """The losses of the tasks that the batch has labels for."""
    predictions = network(batch.inputs)
    return {
        task.name: loss_on_labelled(task.loss, predictions[task.name], target, batch.weights)
        for task, target in zip(tasks, batch.targets.T, strict=True)
        if not bool(target.isnan().all())
    }
