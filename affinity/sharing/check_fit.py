"""Whether a network's parts fit each other and the inputs."""

from collections.abc import Sequence

import torch
from torch import Tensor

from affinity.errors import InputError
from affinity.tasks import Task

from .sharing import Sharing


def check_fit(network: Sharing, tasks: Sequence[Task], sample: Tensor) -> None:
    """Predict a few rows, and raise an error that names a part that does not fit.

    Args:
        network: Predicts some or all of `tasks`.
        sample: A few rows of inputs.

    Raises:
        InputError: If the trunk does not fit the inputs, or a head does not fit the trunk's output
            or its task.
    """
    n_outputs = {task.name: task.n_outputs for task in tasks}
    was_training = network.training
    network.eval()
    try:
        with torch.no_grad():
            try:
                representations = network.represent(sample)
            except RuntimeError as error:
                raise InputError(
                    f"Expected a trunk for inputs of {list(sample.shape[1:])} per row, but it "
                    f"fails on them: {error}",
                    "trunk-does-not-fit",
                ) from error
            if isinstance(representations, Tensor):
                representations = (representations,) * len(network.names)
            parts = zip(network.names, network.heads, representations, strict=True)
            for name, head, representation in parts:
                try:
                    prediction = head(representation)
                except RuntimeError as error:
                    raise InputError(
                        f"Expected the head of task {name!r} to fit the trunk's output of "
                        f"{list(representation.shape[1:])} per row, but it fails on it: {error}",
                        "head-does-not-fit",
                    ) from error
                expected = [len(sample), n_outputs[name]]
                if list(prediction.shape) != expected:
                    raise InputError(
                        f"Expected the head of task {name!r} to return {expected} for "
                        f"{len(sample)} rows, but it returns {list(prediction.shape)}. Set the "
                        "task's n_outputs, or change the head.",
                        "head-does-not-fit",
                    )
    finally:
        network.train(was_training)
