"""Rows of arrays as a problem, scaled by statistics of its training rows."""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

from affinity.problems import Problem, RandomRows, TableParts
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
class Rows:
    """Rows of arrays as a problem whose statistics come from training rows alone."""

    inputs: Float[Tensor, "row feature"]
    targets: Float[Tensor, "row task"]
    is_number: bool
    seed: int

    @property
    def parts(self) -> tuple[Tensor, Tensor]:
        """Development and test rows."""
        everything = Examples(inputs=self.inputs, targets=self.targets)
        draw = RandomRows(0.2, evaluation_share=0.0)(everything, self.seed)
        return draw.training, draw.validation

    def draw(self, seed: int) -> Int[Tensor, " training"]:
        """Training rows of the replicate with this seed, counted among development rows."""
        development, _ = self.parts
        everything = Examples(inputs=self.inputs, targets=self.targets)
        return RandomRows()(everything.take(development), seed).training

    def statistics(self, training: Int[Tensor, " training"]) -> Statistics:
        """The statistics of these development rows."""
        rows = self.parts[0][training]
        inputs, targets = self.inputs[rows], self.targets[rows]
        return Statistics(
            input_mean=inputs.mean(dim=0),
            input_scale=_scale(inputs),
            target_mean=targets.mean(dim=0) if self.is_number else targets.new_zeros(1),
            target_scale=_scale(targets) if self.is_number else targets.new_ones(1),
            is_number=self.is_number,
        )

    def encode(self, training: Int[Tensor, " training"]) -> tuple[Examples, Examples]:
        """Development and test rows, scaled by statistics of these training rows."""
        found = self.statistics(training)
        scaled = Examples(
            inputs=((self.inputs - found.input_mean) / found.input_scale).float(),
            targets=((self.targets - found.target_mean) / found.target_scale).float(),
        )
        development, test = self.parts
        return scaled.take(development), scaled.take(test)

    def replicate(self, seed: int) -> Replicate:
        """All rows of the replicate with this seed."""
        development, _ = self.parts
        everything = Examples(inputs=self.inputs, targets=self.targets)
        draw = RandomRows()(everything.take(development), seed)
        encoded, test = self.encode(draw.training)
        return Replicate(
            seed=seed,
            training=encoded.take(draw.training),
            validation=encoded.take(draw.validation),
            test=test,
            evaluation=encoded.take(draw.evaluation),
        )

    def problem(
        self,
        name: str,
        tasks: tuple[Task, ...],
        width: int,
        depth: int,
        settings: TrainingSettings,
    ) -> Problem:
        """The problem to record and audit; its trunks have this width and depth."""
        development, test = self.parts
        everything = Examples(inputs=self.inputs.float(), targets=self.targets.float())
        parts = TableParts(self.inputs.shape[1], depth)
        trunk, head = parts(width)
        return Problem(
            name=name,
            tasks=tasks,
            development=everything.take(development),
            test=everything.take(test),
            trunk=trunk,
            head=head,
            encoder=self.encode,
            settings=settings,
            width=width,
            parts=parts,
        )


def _scale(values: Float[Tensor, "row column"]) -> Float[Tensor, " column"]:
    deviation = values.std(dim=0, correction=0)
    return deviation.where(deviation > 0, 1.0)
