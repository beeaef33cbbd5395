"""Fan-out: trainings that cannot be stacked, side by side in processes or on a cluster."""

import tempfile
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from joblib import Parallel, delayed, effective_n_jobs, parallel_config
from joblib.externals.loky import get_reusable_executor
from joblib.externals.loky.process_executor import BrokenProcessPool

from affinity.errors import InputError
from affinity.progress import track
from affinity.sharing import Sharing, check_fit
from affinity.tasks import Replicate, Task

from .alone import train_alone
from .finished import Finished
from .members import Build, Member, start_all
from .settings import TrainingSettings
from .store import Store
from .trained import Trained

BACKENDS = ("loky", "ray", "dask")


def fan_out(
    build: Build,
    tasks: Sequence[Task],
    members: Sequence[Member],
    replicates: Sequence[Replicate],
    settings: TrainingSettings,
    n_jobs: int = -1,
    backend: str = "loky",
    store: Store | None = None,
) -> list[Trained]:
    """Train every member by itself, `n_jobs` at a time with one thread each.

    The results are those of `train_members`, for any objective, sampling and architecture.
    ``loky`` are processes of this machine; ``ray`` and ``dask`` go past it: they use the cluster
    that this program is connected to, or start a local one. A worker that dies takes no finished
    training with it (on ``ray`` only those in the store count as finished): the unfinished ones
    are tried once more, one by one in a process of this machine, and what dies again is named.
    Dask tries them again by its own rules.

    Args:
        build: Makes a fresh network of some of the tasks.
        tasks: All tasks, in the order of the targets' columns.
        members: What to train.
        replicates: The rows and seeds that members refer to.
        settings: How to train.
        n_jobs: How many at a time; -1 is one a core.
        backend: ``loky``, ``ray`` or ``dask``.
        store: Finished trainings are kept there, and not trained again.

    Raises:
        InputError: If the backend is unknown or not installed, or a member cannot be trained.
        RuntimeError: If a training killed its worker twice; the message names it.
    """
    if backend not in BACKENDS:
        raise InputError(f"Expected a backend among {BACKENDS}, but got {backend!r}.")
    networks = start_all(build, tasks, members, replicates)
    for network, member in zip(networks, members, strict=True):
        check_fit(network, tasks, replicates[member.replicate].training.inputs[:2])
    with tempfile.TemporaryDirectory() as folder:
        kept = store or Store(Path(folder))
        finished = Finished(kept, networks, tasks, members, replicates, settings)
        with track("training networks", len(members)) as progress:
            progress.advance(len(finished.results))
            jobs = [
                (number, networks[number], tasks, replicates[members[number].replicate], settings)
                for number in finished.missing
            ]
            with _installed(backend):
                deaths = _deaths_on(backend)
            try:
                with _connected(backend, n_jobs):
                    parallel = Parallel(
                        return_as="list" if backend == "ray" else "generator_unordered"
                    )
                    done: Iterable[tuple[int, Trained]] = parallel(  # pyright: ignore[reportAssignmentType]
                        delayed(_work)(*job) for job in jobs
                    )
                    for number, result in done:
                        finished.add(number, _on(result, members[number]))
                        progress.advance()
            except deaths:
                _try_again([job for job in jobs if job[0] in finished.missing], finished, members)
        return [finished.results[number] for number in range(len(members))]


def _work(
    number: int,
    network: Sharing,
    tasks: Sequence[Task],
    replicate: Replicate,
    settings: TrainingSettings,
) -> tuple[int, Trained]:
    """What a worker does."""
    torch.set_num_threads(1)
    member = Member(frozenset(network.names), 0)
    return number, train_alone(network, tasks, member, [replicate], settings, False, None)


def _on(result: Trained, member: Member) -> Trained:
    return replace(result, replicate=member.replicate)


def _deaths_on(backend: str) -> tuple[type[BaseException], ...]:
    """What is raised where a worker dies."""
    if backend != "ray":
        return (BrokenProcessPool,)
    from ray.exceptions import (  # pyright: ignore[reportMissingImports]
        RayActorError,
        WorkerCrashedError,
    )

    return RayActorError, WorkerCrashedError


@contextmanager
def _installed(backend: str) -> Generator[None]:
    """Say how to install a backend whose import fails inside this block."""
    try:
        yield
    except ImportError as error:
        raise InputError(
            f"Expected {backend} to be installed; run: pip install 'task-affinity[{backend}]'"
        ) from error


def _try_again(
    jobs: Sequence[tuple[Any, ...]], finished: Finished, members: Sequence[Member]
) -> None:
    """One worker, one training at a time, so that it is known which of them kills it."""
    died: list[str] = []
    for job in jobs:
        executor = get_reusable_executor(max_workers=1, reuse=False)  # pyright: ignore[reportArgumentType]
        try:
            number, result = executor.submit(_work, *job).result()
            finished.add(number, _on(result, members[number]))
        except BrokenProcessPool:
            member = members[job[0]]
            died.append(f"the network of {sorted(member.tasks)} on replicate {member.replicate}")
        finally:
            executor.shutdown(wait=True, kill_workers=True)
    if died:
        raise RuntimeError(
            f"Training {'; '.join(died)} killed its worker twice, probably for want of memory. "
            f"The other {len(finished.results)} trainings are finished, and kept where a store was "
            "given. Lower batch_size or the size of the network."
        )


@contextmanager
def _connected(backend: str, n_jobs: int) -> Generator[None]:
    """Inside the block joblib works on this backend."""
    if backend == "loky":
        with parallel_config(backend="loky", n_jobs=n_jobs):
            yield
        return
    if backend == "ray":
        with _installed(backend):
            import ray  # pyright: ignore[reportMissingImports]
            from ray.util.joblib import register_ray  # pyright: ignore[reportMissingImports]

        was_running = ray.is_initialized()
        if not was_running:
            ray.init(num_cpus=int(str(effective_n_jobs(n_jobs))), include_dashboard=False)
        register_ray()
        try:
            with parallel_config(backend="ray", n_jobs=n_jobs):
                yield
        finally:
            if not was_running:
                ray.shutdown()
    else:
        with _installed(backend):
            from distributed import Client, get_client  # pyright: ignore[reportMissingImports]

        try:
            client, own = get_client(), False
        except ValueError:
            count = effective_n_jobs(n_jobs)
            client, own = Client(n_workers=count, threads_per_worker=1), True
        try:
            with parallel_config(backend="dask", n_jobs=n_jobs):
                yield
        finally:
            if own:
                client.close()
