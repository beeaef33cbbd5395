"""Gradient sums: of the losses, gradients and curvatures of the labels of one data set."""

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor


class Sums:
    """Sums over the labels of one data set."""

    def __init__(self, dimensions: int) -> None:
        self.loss = torch.zeros(()).double()
        self.gradient = torch.zeros(dimensions).double()
        self.curvature = torch.zeros(dimensions, dimensions).double()
        self.counts = torch.zeros(2).double()  # of labels and of rows

    def add(
        self,
        loss: float,
        n_labels: int,
        n_rows: int,
        vectors: Float[Tensor, "*row vector dimension"],
    ) -> None:
        """Add rows: their gradients, and roots whose outer products are their curvatures."""
        vectors = vectors.view(-1, *vectors.shape[-2:])
        roots = vectors[:, 1:].flatten(0, 1)
        self.loss += loss
        self.gradient += vectors[:, 0].sum(dim=0)
        self.curvature.addmm_(roots.T, roots)
        self.counts += torch.tensor([n_labels, n_rows])

    def over_ranks(self) -> "Sums":
        """The sums of all processes of a distributed run."""
        if _has_ranks():
            device = "cuda" if dist.get_backend() == "nccl" else "cpu"
            for name in ("loss", "gradient", "curvature", "counts"):
                value = getattr(self, name).to(device)
                dist.all_reduce(value)
                setattr(self, name, value.cpu())
        return self


def rank() -> int:
    """The number of this process in a distributed run; 0 if there is none."""
    return dist.get_rank() if _has_ranks() else 0


def n_ranks() -> int:
    """The number of processes of a distributed run; 1 if there is none."""
    return dist.get_world_size() if _has_ranks() else 1


def digests_of_ranks(digests: set[str]) -> set[str]:
    """The digests of all processes of a distributed run."""
    if not _has_ranks():
        return digests
    gathered: list[set[str]] = [set()] * dist.get_world_size()
    dist.all_gather_object(gathered, digests)
    return set[str]().union(*gathered)


def _has_ranks() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
