"""Fan-out: trainings that cannot be batched, in parallel processes or on a cluster."""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from affinity.errors import InputError
from affinity.progress import track
from affinity.sharing import check_fit
from affinity.tasks import Replicate, Task

from .backends import BACKENDS, Done, WorkItem, one_by_one
from .initialization import Initialization
from .members import Build, Member, start_all
from .settings import TrainingSettings
from .store import FinishedTrainings, Store
from .trained_network import TrainedNetwork


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

    The results are the same as those of `train_members`, for any objective, sampling and
    architecture. ``loky`` uses local processes; ``ray`` and ``dask`` use the cluster that this
    program is connected to, or start a local one. If a worker crashes, finished trainings are kept.
    The others are repeated once, one at a time in a local process; the error message names those
    that crash again.

    Args:
        build: Makes a new network of some of the tasks.
        tasks: All tasks, in the order of the targets' columns.
        members: The trainings to run.
        replicates: The rows and seeds that members refer to.
        settings: How to train.
        n_jobs: Number of parallel trainings; -1 means one per core.
        backend: ``loky``, ``ray`` or ``dask``.
        store: Store of finished trainings, which are not repeated.
        starts: The initialization of each member; new parameters if None.

    Raises:
        InputError: If the backend is unknown or not installed, or a member cannot be trained.
        RuntimeError: If a training crashed its worker twice; the message names it.
    """
    if backend not in BACKENDS:
        raise InputError(
            f"Expected a backend among {tuple(BACKENDS)}, but got {backend!r}.", "unknown-backend"
        )
    settings.objective.check_tasks([task.name for task in tasks])
    networks = start_all(build, tasks, members, replicates, starts)
    begin = starts or [Initialization()] * len(members)
    for network, member in zip(networks, members, strict=True):
        check_fit(network, tasks, replicates[member.replicate].training.inputs[:2])
    with tempfile.TemporaryDirectory() as folder:
        kept = store or Store(Path(folder))
        finished = FinishedTrainings(kept, networks, tasks, members, replicates, settings, begin)

        def missing() -> list[WorkItem]:
            return [
                WorkItem(
                    number,
                    networks[number],
                    tasks,
                    replicates[members[number].replicate],
                    settings,
                    begin[number],
                )
                for number in finished.missing
            ]

        def trainings() -> Iterator[Done]:
            yield from BACKENDS[backend](missing(), n_jobs)
            yield from one_by_one(missing())

        with track("training networks", len(members)) as progress:
            progress.advance(len(finished.results))
            for number, result in trainings():
                finished.add(number, replace(result, replicate=members[number].replicate))
                progress.advance()
    if finished.missing:
        raise RuntimeError(_deaths([members[number] for number in finished.missing], finished))
    return [finished.results[number] for number in range(len(members))]


def _deaths(died: Sequence[Member], finished: FinishedTrainings) -> str:
    names = (f"the network of {sorted(one.tasks)} on replicate {one.replicate}" for one in died)
    return (
        f"Training {'; '.join(names)} crashed its worker twice, probably out of memory. "
        f"The other {len(finished.results)} trainings are finished, and stored if a store was "
        "given. Lower batch_size or the size of the network."
    )
