"""Rows of arrays as a problem, scaled by statistics of training rows, and networks on them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from affinity.problems import Draw, Problem, RandomRows, TableParts
from affinity.sharing import HardSharing
from affinity.tasks import Examples, Replicate, Task
from affinity.training import TrainingSettings


@dataclass(frozen=True, eq=False)
class Statistics:
    """Means and deviations of a replicate's training rows."""

    input_mean: Tensor
    input_scale: Tensor
    target_mean: Tensor
    target_scale: Tensor
    is_number: bool


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


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of arrays as a problem whose statistics come from training rows alone."""

    inputs: Float[Tensor, "row feature"]
    # numbers, or numbers of classes; NaN where a label is missing
    targets: Float[Tensor, "row task"]
    groups: Int[Tensor, " row"] | None  # rows of one group stay together in every split
    weights: Float[Tensor, " row"] | None  # how much each row counts
    is_number: bool  # targets are numbers
    seed: int  # decides which rows are test rows

    @cached_property
    def examples(self) -> Examples:
        """All rows."""
        return Examples(self.inputs, self.targets, self.groups, self.weights)

    @cached_property
    def parts(self) -> tuple[Tensor, Tensor]:
        """Development and test rows."""
        draw = RandomRows(0.2, evaluation_share=0.0)(self.examples, self.seed)
        return draw.training, draw.validation

    def draw(self, seed: int) -> Draw:
        """The rows of the replicate with this seed, counted among development rows."""
        return RandomRows()(self.examples.take(self.parts[0]), seed)

    def statistics(self, training: Int[Tensor, " training"]) -> Statistics:
        """The statistics of these development rows, without those of weight 0."""
        rows = self.parts[0][training]
        if self.weights is not None and bool((is_used := self.weights[rows] > 0).any()):
            rows = rows[is_used]
        inputs, targets = self.inputs[rows], self.targets[rows]
        return Statistics(
            input_mean=inputs.mean(dim=0),
            input_scale=_scale(inputs),
            target_mean=targets.nanmean(dim=0).nan_to_num()
            if self.is_number
            else targets.new_zeros(1),
            target_scale=_scale(targets) if self.is_number else targets.new_ones(1),
            is_number=self.is_number,
        )

    def target_scales(self, training: Int[Tensor, " training"]) -> Float[Tensor, " task"]:
        """The unit of each standardized target."""
        return self.statistics(training).target_scale.expand(self.targets.shape[1])

    def __call__(self, training: Int[Tensor, " training"]) -> tuple[Examples, Examples]:
        """Development and test rows, scaled by statistics of these training rows."""
        statistics = self.statistics(training)
        scaled = Examples(
            ((self.inputs - statistics.input_mean) / statistics.input_scale).float(),
            ((self.targets - statistics.target_mean) / statistics.target_scale).float(),
            self.groups,
            self.weights,
        )
        development, test = self.parts
        return scaled.take(development), scaled.take(test)

    def replicate(self, seed: int) -> Replicate:
        """All rows of the replicate with this seed."""
        draw = self.draw(seed)
        encoded, test = self(draw.training)
        return Replicate(
            seed=seed,
            training=encoded.take(draw.training),
            validation=encoded.take(draw.validation),
            test=test,
            evaluation=encoded.take(draw.evaluation),
        )

    def problem(
        self, name: str, tasks: tuple[Task, ...], width: int, depth: int, settings: TrainingSettings
    ) -> Problem:
        """The problem to record and audit; its trunks have this width and depth."""
        development, test = self.parts
        everything = replace(
            self.examples, inputs=self.inputs.float(), targets=self.targets.float()
        )
        parts = TableParts(self.inputs.shape[1], depth)
        trunk, head = parts(width)
        return Problem(
            name=name,
            tasks=tasks,
            development=everything.take(development),
            test=everything.take(test),
            trunk=trunk,
            head=head,
            encoder=self,
            settings=settings,
            width=width,
            parts=parts,
        )


def _scale(values: Float[Tensor, "row column"]) -> Float[Tensor, " column"]:
    mean = values.nanmean(dim=0)
    deviation = (values - mean).square().nanmean(dim=0).sqrt().nan_to_num()
    return deviation.where(deviation > 0, 1.0)
