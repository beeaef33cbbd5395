"""Sketching a measurement: fresh directions, and the first method that the run's graph allows."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import torch
from jaxtyping import Float
from torch import Tensor

from affinity.errors import InputError

from .batch import Batch
from .progress import Progress
from .shared_parameters import unwrapped
from .sketch import random_signs, sketch_by_double_backward, sketch_by_forward_mode
from .watched import Watched


@dataclass(frozen=True, eq=False)
class Sketch:
    """Products of the tasks' gradients with random directions.

    Args:
        products: Missing (NaN) for tasks that are absent.
        drawn: State of the generator before it drew the directions.
        along: Exact products with one direction more, where it was given.
    """

    products: Float[Tensor, "task direction"]
    drawn: Tensor
    along: Float[Tensor, " task"] | None = None

    def gramian(self, targets: Float[Tensor, "task direction"]) -> Float[Tensor, "source target"]:
        """The unbiased estimate of inner products with what has the products `targets`."""
        return self.products @ targets.T / self.products.shape[1]


def sketched(
    watched: Watched,
    progress: Progress,
    batch: Batch,
    directions: int,
    along: Sequence[Tensor] | None = None,
) -> Sketch | None:
    """A sketch of the batch's gradients; None where its graph allows none."""
    more = [] if along is None else [along]
    drawn = progress.generator.get_state()
    following = {"double backward": "forward mode", "forward mode": "none"}
    while progress.sketch_method != "none":
        progress.generator.set_state(drawn)
        try:
            products = _products(watched, progress, batch, directions, more)
            return Sketch(
                products[:, :directions], drawn, products[:, directions] if more else None
            )
        except InputError:
            raise
        except RuntimeError:  # an operation that cannot be differentiated this way
            method = following[progress.sketch_method]
            progress.sketch_method = method if batch.can_evaluate else "none"
    return None


def in_the_same_directions(
    watched: Watched, progress: Progress, batch: Batch, sketch: Sketch
) -> Float[Tensor, "task direction"]:
    """Products of another batch's gradients with the directions of `sketch`."""
    going_on = progress.generator.get_state()
    progress.generator.set_state(sketch.drawn)
    products = _products(watched, progress, batch, sketch.products.shape[1])
    progress.generator.set_state(going_on)
    return products


def _products(
    watched: Watched,
    progress: Progress,
    batch: Batch,
    directions: int,
    more: Sequence[Sequence[Tensor]] = (),
) -> Float[Tensor, "task direction"]:
    shared = watched.shared
    present = watched.present(batch)
    drawn = (random_signs(shared, progress.generator) for _ in range(directions))
    drawn = chain(drawn, more)
    products = torch.zeros(len(watched.tasks), directions + len(more), device=shared[0].device)
    rows = [watched.tasks.index(task) for task in batch.names]
    if progress.sketch_method == "double backward":
        losses = [batch.loss(task) for task in batch.names]
        if losses:
            products[rows] = sketch_by_double_backward(losses, shared, drawn)
    else:
        products[rows] = sketch_by_forward_mode(
            batch.evaluate_with_tangents, unwrapped(watched.model), shared, drawn
        ).float()
    if watched.ranks.count == 1:
        _set_aside_unlabelled(batch, rows, products, present)
    return watched.ranks.total(products) / present[:, None]


def _set_aside_unlabelled(batch: Batch, rows: list[int], products: Tensor, present: Tensor) -> None:
    """A loss of 0 with a gradient of 0 is that of a batch without the task's labels."""
    values = batch.values()
    for task, row in zip(batch.names, rows, strict=True):
        if not products[row].any() and values[row] == 0:
            batch.missing.add(task)
            present[row] = 0
