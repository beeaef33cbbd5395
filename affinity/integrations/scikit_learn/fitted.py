"""A trained network as `predict` uses it."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from affinity.sharing import HardSharing

from .rows import Statistics


@dataclass(frozen=True, eq=False)
class Fitted:
    """A trained network, with the scaling of its rows and the tasks that it serves."""

    statistics: Statistics
    served: tuple[str, ...]
    network: HardSharing

    def __call__(self, rows: Float[Tensor, "row feature"]) -> Mapping[str, Tensor]:
        """Numbers in the targets' own units, or probabilities, per served task."""
        found = self.statistics
        with torch.no_grad():
            outputs = self.network((rows - found.input_mean) / found.input_scale)
        served = {name: outputs[name] for name in self.served}
        if not found.is_number:
            return {name: logits.softmax(dim=1) for name, logits in served.items()}
        at = {name: int(name.removeprefix("target ")) for name in served}
        return {
            name: value * found.target_scale[at[name]] + found.target_mean[at[name]]
            for name, value in served.items()
        }
