"""Fan-out: trainings that cannot be batched, in parallel processes or on a cluster."""

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import torch

from affinity.errors import check_choice, warn
from affinity.progress import track
from affinity.sharing import Sharing, check_fit
from affinity.tasks import ExamplesView, Replicate, Task

from .backends import BACKENDS, Done, WorkItem, one_by_one
from .device import find_gpus
from .initialization import Initialization
from .mapped_rows import RowFiles
from .members import Build, Member, start_all
from .settings import TrainingSettings
from .store import FinishedTrainings, Store
from .trained_network import TrainedNetwork

_PROCESS_BYTES = 400 * 2**20  # memory of a process that has imported torch, before it has any rows


def fan_out(
    build: Build,
    tasks: Sequence[Task],
    members: Sequence[Member],
    replicates: Sequence[Replicate],
    settings: TrainingSettings,
    n_jobs: int = -1,
    backend: str = "loky",
    store: Store | None = None,
    starts: Sequence[Initialization] | None = None,
) -> list[TrainedNetwork]:
    """Train every member separately, `n_jobs` at a time with one thread each.

    Arguments and results are the same as those of `train_members`, for any objective, sampling and
    architecture. ``loky`` uses local processes; ``ray`` and ``dask`` use the cluster that this
    program is connected to, or start a local one. If a worker crashes, finished trainings are kept.
    The others are repeated once, one at a time in a local process; the error message names those
    that crash again. Local processes map the rows from files, so that they share their memory, and
    take the visible GPUs in turn.

    Args:
        n_jobs: Number of parallel trainings; -1 means one per core. Local processes are at most
            as many as fit in the free memory (`fitting_processes`), which is warned of.
        backend: ``loky``, ``ray`` or ``dask``.
        store: Store of finished trainings, which are not repeated.

    Raises:
        InputError: If the backend is unknown or not installed, or a member cannot be trained.
        RuntimeError: If a training crashed its worker twice; the message names it.
    """
    check_choice("the backend", backend, BACKENDS, "unknown-backend")
    settings.objective.check_tasks([task.name for task in tasks])
    networks = start_all(build, tasks, members, replicates, starts)
    begin = starts or [Initialization()] * len(members)
    for network, member in zip(networks, members, strict=True):
        check_fit(network, tasks, replicates[member.replicate].training.inputs_of(slice(2)))
    gpus = find_gpus(settings.device) if backend == "loky" else []
    if backend == "loky":
        n_jobs = _within_memory(n_jobs, networks, replicates)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        kept, files = store or Store(Path(folder)), RowFiles(Path(folder))
        finished = FinishedTrainings(kept, networks, tasks, members, replicates, settings, begin)

        def missing(is_local: bool) -> list[WorkItem]:
            rows = {members[number].replicate for number in finished.missing}
            rows_of = {n: files.write(replicates[n]) if is_local else replicates[n] for n in rows}
            return [
                WorkItem(
                    number,
                    networks[number],
                    tasks,
                    rows_of[members[number].replicate],
                    settings if not gpus else replace(settings, device=gpus[number % len(gpus)]),
                    begin[number],
                )
                for number in finished.missing
            ]

        def trainings() -> Iterator[Done]:
            yield from BACKENDS[backend](missing(backend == "loky"), n_jobs)
            yield from one_by_one(missing(is_local=True))

        with track("training networks", len(members)) as progress:
            progress.advance(len(finished.results))
            for number, result in trainings():
                finished.add(number, replace(result, replicate=members[number].replicate))
                progress.advance()
    if finished.missing:
        raise RuntimeError(_deaths([members[number] for number in finished.missing], finished))
    return [finished.results[number] for number in range(len(members))]


def train_on_devices(
    devices: Sequence[str],
    train: Callable[..., list[TrainedNetwork]],
    members: Sequence[Member],
    replicates: Sequence[Replicate],
    settings: TrainingSettings,
    starts: Sequence[Initialization] | None = None,
) -> list[TrainedNetwork]:
    """`train`, as `train_members`, with a share of the members on each device, in processes."""
    from joblib import Parallel, delayed

    count = len(devices)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        files = RowFiles(Path(folder))
        rows = [files.write(replicate) for replicate in replicates]

        def train_share(first: int) -> list[TrainedNetwork]:
            torch.set_num_threads(1)
            here = replace(settings, device=devices[first])
            of_share = None if starts is None else starts[first::count]
            return train(members[first::count], [r.read() for r in rows], here, starts=of_share)

        shares = cast(
            "list[list[TrainedNetwork]]",
            Parallel(count, backend="loky")(map(delayed(train_share), range(count))),
        )
    return [shares[number % count][number // count] for number in range(len(members))]


def _deaths(died: Sequence[Member], finished: FinishedTrainings) -> str:
    names = (f"the network of {sorted(one.tasks)} on replicate {one.replicate}" for one in died)
    return (
        f"Training {'; '.join(names)} crashed its worker twice, probably out of memory. "
        f"The other {len(finished.results)} trainings are finished, and stored if a store was "
        "given. Lower batch_size or the size of the network."
    )


def fitting_processes(
    networks: Sequence[Sharing], replicates: Sequence[Replicate], free: int
) -> int:
    """How many processes fit in `free` bytes of memory, at least one.

    A process takes about 400 MB, the labels of a replicate twice, and the largest network four
    times (parameters, gradients and two moments). The inputs are in memory once more for all.
    """
    parts = [
        part
        for replicate in replicates
        for part in (replicate.training, replicate.validation, replicate.test, replicate.evaluation)
        if part is not None
    ]
    labels = sum(part.targets.nbytes for part in parts) // max(1, len(replicates))
    tables = [part.table if isinstance(part, ExamplesView) else part.inputs for part in parts]
    shared = sum({id(table): table.nbytes for table in tables}.values())
    parameters = max((sum(p.nbytes for p in n.parameters()) for n in networks), default=0)
    return max(1, (free - shared) // (_PROCESS_BYTES + 2 * labels + 4 * parameters))


def _within_memory(
    n_jobs: int, networks: Sequence[Sharing], replicates: Sequence[Replicate]
) -> int:
    free = _free_memory()
    if free is None:
        return n_jobs
    wanted = n_jobs if n_jobs > 0 else max(1, len(os.sched_getaffinity(0)) + 1 + n_jobs)
    fitting = fitting_processes(networks, replicates, free)
    if fitting >= min(wanted, len(networks)):
        return n_jobs
    warn(
        f"Only {fitting} of {wanted} processes fit in the free memory ({free / 2**30:.1f} GB): "
        f"{fitting} train at a time.",
        "fewer-processes",
    )
    return fitting


def _free_memory() -> int | None:
    """Bytes that processes can take without swapping; None where the system does not say."""
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            free = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration, ValueError):
        return None
    return 1024 * free
