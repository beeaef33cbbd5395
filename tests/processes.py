"""Two processes that run the bodies of tests, one after another, and what they leave behind."""

import os
import socket
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

WORLD = 2

Body = Callable[[int, Path], None]
"""What a rank does; it may write into the folder."""


def check(folder: Path, body: Body) -> None:
    """Both ranks went through."""
    for rank in range(WORLD):
        assert (folder / f"{body.__name__} on {rank}").read_text() == "done"


def spawn(folder: Path, bodies: Sequence[Body]) -> None:
    context = mp.get_context("spawn")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    run = partial(worker, folder=folder, port=port, bodies=bodies)
    workers = [context.Process(target=run, args=(rank,)) for rank in range(WORLD)]
    for each in workers:
        each.start()
    for each in workers:
        each.join(120)
        each.kill()


def worker(rank: int, folder: Path, port: int, bodies: Sequence[Body]) -> None:
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    dist.init_process_group(
        "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=WORLD
    )
    for body in bodies:
        outcome = folder / f"{body.__name__} on {rank}"
        outcome.write_text("did not end")
        try:
            body(rank, folder)
        except Exception:
            outcome.write_text(traceback.format_exc())
            raise
        outcome.write_text("done")
        dist.barrier()
    dist.destroy_process_group()


class Alone:
    """Ranks of a process that does not look for others."""

    def __init__(self, timeout: float) -> None:
        from affinity.recording.ranks import Ranks

        self._ranks = Ranks(timeout)

    count = 1

    def synchronize(self, step: int) -> None: ...

    def total(self, values: Tensor) -> Tensor:
        return values

    def totals(self, numbers: list[float], device: torch.device) -> list[float]:  # noqa: ARG002
        return numbers

    def largest(self, seconds: float, device: torch.device) -> float:  # noqa: ARG002
        return seconds

    def mean_losses(self, losses: Tensor) -> Tensor:
        return losses

    def mean_gradient(self, gradient: Any, shared: Any) -> Any:  # noqa: ARG002
        return gradient
