"""A measurement that waits for the next micro-batch, to measure its targets there."""

from collections.abc import Sequence

import torch
from torch import Tensor

from affinity.errors import InputError

from .batch import Batch
from .measurement import Measurement

MOST_TRIES = 2
"""One may begin at the last micro-batch before a step of the optimizer, but not two in a row."""


class Unfinished:
    """A measurement whose sources were measured on one micro-batch.

    Args:
        measurement: The measurement.
        shared: The shared parameters, which have to stay as they are until the next micro-batch.
    """

    def __init__(self, measurement: Measurement, shared: Sequence[Tensor]) -> None:
        self.measurement = measurement
        self._shared = shared
        self._sums = _sums(shared)

    def finish(self, batch: Batch, begun: int) -> bool:
        """Measure the targets; False where the optimizer made a step in between.

        Args:
            batch: The next micro-batch.
            begun: How many measurements were begun, this one included, since one was finished.

        Raises:
            InputError: If it makes one after every micro-batch.
        """
        if torch.equal(self._sums, _sums(self._shared)):
            self.measurement.hold_out(batch)
            return True
        if begun >= MOST_TRIES:
            raise InputError(
                "Expected at least two micro-batches before each step of the optimizer for "
                'Recorder(held_out="micro-batch"), but the shared parameters change after every '
                "observation. Observe every micro-batch, or pass a closure that evaluates another "
                "batch: recorder.observe(losses, held_out=...)."
            )
        return False


def _sums(parameters: Sequence[Tensor]) -> Tensor:
    return torch.stack([parameter.detach().double().sum() for parameter in parameters])
