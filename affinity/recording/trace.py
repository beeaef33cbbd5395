"""What a recorded run leaves behind, with time as an axis."""

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from affinity.errors import InputError
from affinity.tasks import check_names
from affinity.tensor_file import read_tensors, write_tensors

VERSION = 1


@dataclass(frozen=True, eq=False)
class Trace:
    """Measurements of one or more training runs, one entry of `time` a measurement.

    What was not measured is None; what was missing at a step (a task without a label in the
    batch, a NaN loss) is NaN. Rows are sources, columns are targets.

    Args:
        tasks: Names, in the order of every task axis.
        steps: Step of the run at which each measurement was made.
        losses: Loss of each task before the step.
        gramians: Inner products of the tasks' gradients on the shared parameters.
        lookahead_losses: Loss of the target after a step along the source's gradient alone.
        held_out_losses: Loss of each task on the held-out batch.
        held_out_gramians: Inner product of the source's gradient with the target's gradient on
            the held-out batch.
        held_out_lookahead_losses: Loss of the target on the held-out batch, after a step along
            the source's gradient.
        layers: Names of the layers, where their Gramians were asked for.
        layer_gramians: The Gramian a layer.
        layer_norms: Norm of the layer's parameters.
        learning_rates: Learning rate of the lookahead step.
        directions: How many random directions a Gramian was sketched with; 0 where it is exact.
        momentum_products: Inner product of each task's gradient with the sum of earlier gradients
            that the optimizer's next step carries along (`carried_momentum`).
        optimizer_steps: Whether the lookahead's step was the one that the run's optimizer would
            take, rather than a plain one.
        runs: Which run each measurement comes from, where there are several.
    """

    tasks: tuple[str, ...]
    steps: Int[Tensor, " time"]
    losses: Float[Tensor, "time task"]
    gramians: Float[Tensor, "time task task"] | None = None
    lookahead_losses: Float[Tensor, "time task task"] | None = None
    held_out_losses: Float[Tensor, "time task"] | None = None
    held_out_gramians: Float[Tensor, "time task task"] | None = None
    held_out_lookahead_losses: Float[Tensor, "time task task"] | None = None
    layers: tuple[str, ...] | None = None
    layer_gramians: Float[Tensor, "time layer task task"] | None = None
    layer_norms: Float[Tensor, "time layer"] | None = None
    learning_rates: Float[Tensor, " time"] | None = None
    directions: Int[Tensor, " time"] | None = None
    momentum_products: Float[Tensor, "time task"] | None = None
    optimizer_steps: Bool[Tensor, " time"] | None = None
    runs: Int[Tensor, " time"] | None = None

    def __post_init__(self) -> None:
        check_names(self.tasks)

    def __len__(self) -> int:
        return len(self.steps)

    def at(self, times: Int[Tensor, " chosen"]) -> "Trace":
        """The trace at these measurements alone, counted from 0.

        Example:
            >>> import torch
            >>> trace = Trace(("a",), torch.tensor([0, 10, 20]), torch.ones(3, 1))
            >>> trace.at(torch.tensor([2])).steps.tolist()
            [20]
        """
        chosen = {
            field.name: value[times]
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), Tensor)
        }
        return replace(self, **chosen)

    def gradient_norms(self) -> Float[Tensor, "time task"]:
        """Norm of each task's gradient on all shared parameters.

        Example:
            >>> import torch
            >>> gramians = torch.tensor([[[4.0, -2.0], [-2.0, 9.0]]])
            >>> Trace(("a", "b"), torch.tensor([0]), torch.zeros(1, 2), gramians).gradient_norms()
            tensor([[2., 3.]])
        """
        if self.gramians is None:
            raise InputError("Expected a trace with Gramians to take norms of, but it has none.")
        return self.gramians.diagonal(dim1=1, dim2=2).sqrt()

    def relative_gradient_norms(self) -> Float[Tensor, "time layer task"]:
        r"""How much a task wants to move a layer: :math:`\|g\| / \|\theta\|`.

        References:
            Lee et al. (2023), `Surgical Fine-Tuning Improves Adaptation to Distribution Shifts
            <https://arxiv.org/abs/2210.11466>`_, section 5.
        """
        if self.layer_gramians is None or self.layer_norms is None:
            raise InputError(
                "Expected a trace with layers, but it has none: record with Recorder(layers=1), "
                "or the names of the layers."
            )
        norms = self.layer_gramians.diagonal(dim1=2, dim2=3).sqrt()  # time layer task
        return norms / self.layer_norms[:, :, None]

    def gramian_errors(self) -> Float[Tensor, "time source target"]:
        r"""Standard error that sketching adds to each inner product; 0 where it is exact.

        .. math:: \sqrt{(\|g_i\|^2 \|g_j\|^2 + \langle g_i, g_j \rangle^2) / K}

        That of K Gaussian directions; with random signs it is a little less.
        """
        squared = self.gradient_norms().square()
        assert self.gramians is not None
        variance = squared[:, :, None] * squared[:, None, :] + self.gramians.square()
        if self.directions is None:
            return torch.zeros_like(variance)
        count = self.directions[:, None, None]
        return torch.where(count > 0, variance / count.clamp(min=1), 0).sqrt()

    def first_order_error(self) -> float:
        r"""How far the lookahead is from what the Gramian says of it, as a share of it.

        .. math::
            \sqrt{\sum (\Delta_{ij} - \eta \langle g_i, g_j \rangle)^2 / \sum \Delta_{ij}^2}
            \quad\text{with}\quad \Delta_{ij} = L_j(\theta) - L_j(\theta - \eta g_i)

        Over all pairs of tasks and all steps where both were measured. 0: the losses fall as
        straight lines, and the lookahead tells nothing that the Gramian does not. Where Gramians
        are sketched, or dropout masks of lookahead and gradients differ, their noise is in it too.

        Example:
            >>> import torch
            >>> trace = Trace(("a",), torch.tensor([0]), torch.tensor([[1.0]]),
            ...               gramians=torch.tensor([[[4.0]]]), learning_rates=torch.tensor([0.25]),
            ...               lookahead_losses=torch.tensor([[[0.5]]]))
            >>> trace.first_order_error()  # the loss fell by 0.5, not by 1
            1.0
        """
        if self.gramians is None or self.lookahead_losses is None or self.learning_rates is None:
            raise InputError(
                "Expected a trace with Gramians and lookahead losses, but it lacks one of them: "
                "pass a closure to recorder.observe."
            )
        fell = self.losses[:, None, :] - self.lookahead_losses  # time source target
        foretold = self.learning_rates[:, None, None] * self.gramians
        both = fell.isfinite() & foretold.isfinite()
        error = (fell - foretold).where(both, 0).square().sum()
        return (error / fell.where(both, 0).square().sum()).sqrt().item()

    def save(self, path: str | Path) -> None:
        """Write to a safetensors file, at once or not at all.

        Example:
            >>> import tempfile, torch
            >>> trace = Trace(("a", "b"), torch.tensor([0]), torch.tensor([[0.5, 0.25]]))
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     trace.save(f"{folder}/trace.safetensors")
            ...     Trace.load(f"{folder}/trace.safetensors").losses.tolist()
            [[0.5, 0.25]]
        """
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        tensors = {name: value for name, value in values.items() if isinstance(value, Tensor)}
        names = {name: value for name, value in values.items() if isinstance(value, tuple)}
        write_tensors(path, tensors, names, "trace", VERSION)

    @classmethod
    def load(cls, path: str | Path) -> "Trace":
        """Read what `save` wrote.

        Raises:
            InputError: If the file is missing, is no trace, or is of a later version.
        """
        tensors, names = read_tensors(path, "trace", VERSION)
        values: dict[str, Any] = {name: tuple(value) for name, value in names.items()}
        return cls(**values, **tensors)  # pyright: ignore[reportArgumentType]
