"""Backends for parallel training: local processes, a Ray cluster or a Dask cluster."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from itertools import islice
from typing import Any, NamedTuple

import torch

from affinity.extras import needs
from affinity.sharing import Sharing
from affinity.tasks import Replicate, Task

from .initialization import Initialization
from .loop import train_one
from .mapped_rows import MappedReplicate
from .settings import TrainingSettings
from .trained_network import TrainedNetwork

Done = tuple[int, TrainedNetwork]


class WorkItem(NamedTuple):
    """One training of one network."""

    number: int
    network: Sharing
    tasks: Sequence[Task]
    replicate: Replicate | MappedReplicate
    settings: TrainingSettings
    start: Initialization


def work(job: WorkItem) -> Done:
    """Run one training on one thread; called in a worker."""
    torch.set_num_threads(1)
    rows = job.replicate.read() if isinstance(job.replicate, MappedReplicate) else job.replicate
    result = train_one(job.network, job.tasks, [rows], 0, job.settings, start=job.start)
    return job.number, result


def on_loky(jobs: Sequence[WorkItem], n_jobs: int) -> Iterator[Done]:
    """Train in local processes. If one worker crashes, all of them stop."""
    from joblib import Parallel, delayed
    from joblib.externals.loky.process_executor import BrokenProcessPool

    parallel = Parallel(n_jobs, backend="loky", return_as="generator_unordered")
    with suppress(BrokenProcessPool):
        yield from parallel(delayed(work)(job) for job in jobs)  # pyright: ignore[reportReturnType]


def on_ray(jobs: Sequence[WorkItem], n_jobs: int) -> Iterator[Done]:
    """Train on the Ray cluster that this program is connected to, or start a local one."""
    with needs("ray"):
        import ray  # pyright: ignore[reportMissingImports]
        from ray.exceptions import NodeDiedError, OutOfMemoryError, WorkerCrashedError  # pyright: ignore[reportMissingImports]
    with ExitStack() as afterwards:
        if not ray.is_initialized():
            ray.init(num_cpus=_count(n_jobs), include_dashboard=False)
            afterwards.callback(ray.shutdown)
        limit = int(ray.cluster_resources()["CPU"]) if n_jobs < 0 else n_jobs
        train = ray.remote(max_retries=0)(work)
        for result in _a_few_at_once(jobs, limit, train.remote, ray.wait):
            with suppress(NodeDiedError, OutOfMemoryError, WorkerCrashedError):
                yield ray.get(result)


def on_dask(jobs: Sequence[WorkItem], n_jobs: int) -> Iterator[Done]:
    """Train on the Dask cluster that this program is connected to, or start a local one."""
    with needs("dask"):
        from distributed import Client, KilledWorker, get_client, wait  # pyright: ignore[reportMissingImports]
    with ExitStack() as afterwards:
        client: Any
        try:
            client = get_client()
        except ValueError:
            local = Client(n_workers=_count(n_jobs), threads_per_worker=1)
            client = afterwards.enter_context(local)
        limit = sum(client.nthreads().values()) if n_jobs < 0 else n_jobs

        def wait_for_one(running: list[Any]) -> tuple[list[Any], list[Any]]:
            finished: Any = wait(running, return_when="FIRST_COMPLETED")
            return list(finished.done), list(finished.not_done)

        def start(job: WorkItem) -> Any:
            return client.submit(work, job, pure=False)

        for result in _a_few_at_once(jobs, limit, start, wait_for_one):
            with suppress(KilledWorker):
                yield result.result()


def one_by_one(jobs: Sequence[WorkItem]) -> Iterator[Done]:
    """Train one at a time, each in a separate process: a crash stops only that training."""
    from joblib.externals.loky import get_reusable_executor
    from joblib.externals.loky.process_executor import BrokenProcessPool

    for job in jobs:
        executor = get_reusable_executor(max_workers=1, reuse=False)  # pyright: ignore[reportArgumentType]
        try:
            with suppress(BrokenProcessPool):
                yield executor.submit(work, job).result()
        finally:
            executor.shutdown(wait=True, kill_workers=True)


BACKENDS: dict[str, Callable[[Sequence[WorkItem], int], Iterator[Done]]] = {
    "loky": on_loky,
    "ray": on_ray,
    "dask": on_dask,
}
"""Backends by name. Each takes the jobs and the number of parallel workers, and yields results as
they finish. Jobs whose worker crashed are left out."""


def _a_few_at_once(
    jobs: Sequence[WorkItem],
    limit: int,
    start: Callable[[WorkItem], Any],
    wait: Callable[[list[Any]], tuple[list[Any], list[Any]]],
) -> Iterator[Any]:
    """Yield the handles that `start` returns as they finish; at most `limit` run at a time."""
    left, running = iter(jobs), list[Any]()
    while True:
        running += map(start, islice(left, limit - len(running)))
        if not running:
            return
        done, running = wait(running)
        yield from done


def _count(n_jobs: int) -> int:
    """The number of workers that `n_jobs` means on this machine."""
    from joblib import effective_n_jobs

    return int(str(effective_n_jobs(n_jobs)))
