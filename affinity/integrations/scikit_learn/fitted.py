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
    """A trained network, with the scaling of its rows, all tasks and those that it serves."""

    statistics: Statistics
    names: tuple[str, ...]
    served: tuple[str, ...]
    network: HardSharing

    def __call__(self, rows: Float[Tensor, "row feature"]) -> Mapping[str, Tensor]:
        """Numbers in the targets' own units, or probabilities, per served task."""
        statistics = self.statistics
        with torch.no_grad():
            scaled = (rows - statistics.input_mean) / statistics.input_scale
            outputs = self.network(scaled.nan_to_num(0.0))  # a gap is the training rows' mean
        served = {name: outputs[name] for name in self.served}
        if not statistics.is_number:
            return {name: logits.softmax(dim=1) for name, logits in served.items()}
        return {
            name: value * statistics.target_scale[place] + statistics.target_mean[place]
            for name, value in served.items()
            for place in [self.names.index(name)]
        }
