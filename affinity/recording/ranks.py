"""Ranks: the processes of a distributed run, which measure together and record the same trace."""

import itertools
from collections.abc import Sequence
from datetime import timedelta

import torch
import torch.distributed as dist
from jaxtyping import Bool, Float
from torch import Tensor

from affinity.errors import InputError

from .gradients import Gradient, as_real
from .precision import recorded_type

_numbers = itertools.count()


class Ranks:
    """All ranks of the default process group, or this process alone.

    Gradients are averaged over the ranks before inner products are taken: those of local gradients
    contain the noise of local batches. A rank counts as missing after `timeout` seconds.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timedelta(seconds=timeout)
        self._number = next(_numbers)
        self._meetings = 0

    @property
    def count(self) -> int:
        """The number of ranks."""
        return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1

    def synchronize(self, step: int) -> None:
        """Wait until all ranks observe the same step; an error if one does not."""
        if self.count == 1:
            return
        store = dist.distributed_c10d._get_default_store()  # pyright: ignore
        prefix = f"affinity/{self._number}"
        me, ranks = dist.get_rank(), range(self.count)
        store.set(f"{prefix}/{self._meetings}/{me}", str(step))
        keys = [f"{prefix}/{self._meetings}/{rank}" for rank in ranks]
        try:
            store.wait(keys, self._timeout)
        except RuntimeError:
            missing = [rank for rank in ranks if not store.check([keys[rank]])]
            raise InputError(
                f"Expected every rank to call recorder.observe at step {step}, but ranks {missing} "
                f"of {self.count} did not within {self._timeout.total_seconds():g} s. Call it on "
                "all ranks, at every step.",
                "missing-ranks",
            ) from None
        steps = {rank: int(store.get(key)) for rank, key in zip(ranks, keys, strict=True)}
        if len(set(steps.values())) > 1:
            raise InputError(
                "Expected all ranks to observe the same step, but they are at (rank: step) "
                f"{steps}. Call recorder.observe on all ranks, at every step.",
                "different-steps",
            )
        if self._meetings:  # all ranks have left the previous meeting
            store.delete_key(f"{prefix}/{self._meetings - 1}/{me}")
        self._meetings += 1

    def total(self, values: Tensor) -> Tensor:
        """The sum over ranks."""
        if self.count == 1:
            return values
        values = values.clone()
        dist.all_reduce(values)
        return values

    def totals(self, numbers: Sequence[float], device: torch.device) -> list[float]:
        """The sum of each number over ranks."""
        if self.count == 1:
            return list(numbers)
        return self.total(torch.tensor(numbers, dtype=torch.float64, device=device)).tolist()

    def largest(self, seconds: float, device: torch.device) -> float:
        """The largest value of any rank, so that all take the same decision."""
        if self.count == 1:
            return seconds
        value = torch.tensor(seconds, dtype=torch.float64, device=device)
        dist.all_reduce(value, op=dist.ReduceOp.MAX)
        return value.item()

    def differ(self, values: Float[Tensor, " value"]) -> Bool[Tensor, " value"]:
        """Whether a value differs from rank to rank by more than rounding, relative to the last."""
        extremes = torch.stack([values, -values])
        dist.all_reduce(extremes, op=dist.ReduceOp.MAX)
        return extremes.sum(0) > 1e-5 * extremes[0, -1]

    def mean_losses(self, losses: Float[Tensor, "*any task"]) -> Float[Tensor, "*any task"]:
        """The mean over the ranks on which a task is present."""
        if self.count == 1:
            return losses
        present = losses.isfinite()
        return self.total(losses.where(present, 0)) / self.total(present.to(losses.dtype))

    def mean_gradient(self, gradient: Gradient | None, shared: Sequence[Tensor]) -> Gradient | None:
        """The mean over the ranks that have one; None if none has."""
        if self.count == 1:
            return gradient
        parts = gradient or [None] * len(shared)
        dense = [
            torch.zeros_like(tensor) if part is None else part.to_dense()
            for part, tensor in zip(parts, shared, strict=True)
        ]
        dtype, places = recorded_type(shared), [as_real(tensor.detach()) for tensor in shared]
        is_present = torch.full((1,), gradient is not None, dtype=dtype, device=shared[0].device)
        flat = torch.cat([*(as_real(part).flatten().to(dtype) for part in dense), is_present])
        dist.all_reduce(flat)
        n_with = flat[-1].item()
        if not n_with:
            return None
        flat /= n_with
        pieces = flat[:-1].split([place.numel() for place in places])
        pieces = [piece.view_as(place) for piece, place in zip(pieces, places, strict=True)]
        return [
            torch.view_as_complex(piece) if tensor.is_complex() else piece
            for piece, tensor in zip(pieces, shared, strict=True)
        ]
