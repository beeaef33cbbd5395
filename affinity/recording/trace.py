"""Trace: the measurements of one or more recorded runs, with time as an axis."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from affinity.errors import InputError, check_same
from affinity.storage import load_as, save
from affinity.tasks import check_names

from .summary import RecordingSummary

TASK_AXES = {
    "losses": (1,),
    "gramians": (1, 2),
    "lookahead_losses": (1, 2),
    "held_out_losses": (1,),
    "held_out_gramians": (1, 2),
    "held_out_lookahead_losses": (1, 2),
    "layer_gramians": (2, 3),
    "momentum_products": (1,),
}
"""The axes of each field along which tasks are ordered."""


@dataclass(frozen=True, eq=False)
class Trace:
    """Measurements of one or more training runs, with one entry of `time` per measurement.

    Quantities that were not measured are None; values missing at a step (a task without labels
    in the batch, a NaN loss) are NaN. Rows are sources, columns are targets.

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
        layers: Names of the layers, where Gramians per layer were measured.
        learning_rates: Learning rate of the lookahead step.
        directions: Number of random directions of a sketched Gramian; 0 where it is exact.
        momentum_products: Inner product of each task's gradient with the sum of earlier gradients
            in the optimizer's next step (`carried_momentum`).
        optimizer_steps: Whether the lookahead took the optimizer's step instead of a plain one.
        predicted: Whether lookahead losses were lost in rounding, and are first-order predictions
            (or missing, where there is none).
        runs: Index of the run of each measurement, where there are several.
        recording: What the tasks share and what recording cost, of one run.

    Example:
        >>> import torch
        >>> trace = Trace(
        ...     tasks=("depth", "edges"),
        ...     steps=torch.tensor([0, 10]),
        ...     losses=torch.tensor([[1.0, 2.0], [0.5, 1.0]]),
        ...     gramians=torch.tensor([[[4.0, -2.0], [-2.0, 9.0]], [[1.0, 0.0], [0.0, 1.0]]]),
        ... )
        >>> len(trace), trace.gramians[0, 0, 1].item()  # the first step's gradients conflict
        (2, -2.0)
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
    predicted: Bool[Tensor, " time"] | None = None
    runs: Int[Tensor, " time"] | None = None
    recording: RecordingSummary | None = None

    def __post_init__(self) -> None:
        check_names(self.tasks)

    def __len__(self) -> int:
        return len(self.steps)

    def at(self, times: Int[Tensor, " chosen"]) -> "Trace":
        """The trace at these measurements only, counted from 0.

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
            raise InputError("Expected a trace with Gramians, but it has none.", "no-gramians")
        return self.gramians.diagonal(dim1=1, dim2=2).sqrt()

    def relative_gradient_norms(self) -> Float[Tensor, "time layer task"]:
        r"""Norm of a task's gradient relative to the layer's norm, :math:`\|g\| / \|\theta\|`.

        References:
            Lee et al. (2023), `Surgical Fine-Tuning Improves Adaptation to Distribution Shifts
            <https://arxiv.org/abs/2210.11466>`_, section 5.
        """
        if self.layer_gramians is None or self.layer_norms is None:
            raise InputError(
                "Expected a trace with layers, but it has none: record with Recorder(layers=1), "
                "or the names of the layers.",
                "no-layers",
            )
        norms = self.layer_gramians.diagonal(dim1=2, dim2=3).sqrt()  # time layer task
        return norms / self.layer_norms[:, :, None]

    def gramian_errors(self) -> Float[Tensor, "time source target"]:
        r"""Standard error that sketching adds to each inner product; 0 where it is exact.

        .. math:: \sqrt{(\|g_i\|^2 \|g_j\|^2 + \langle g_i, g_j \rangle^2) / K}

        This is the error with K Gaussian directions; with random signs it is slightly smaller.
        """
        squared = self.gradient_norms().square()
        assert self.gramians is not None
        variance = squared[:, :, None] * squared[:, None, :] + self.gramians.square()
        if self.directions is None:
            return torch.zeros_like(variance)
        count = self.directions[:, None, None]
        return torch.where(count > 0, variance / count.clamp(min=1), 0).sqrt()

    def first_order_error(self) -> float:
        r"""Relative difference between the lookahead and its prediction from the Gramian.

        .. math::
            \sqrt{\sum (\Delta_{ij} - \eta \langle g_i, g_j \rangle)^2 / \sum \Delta_{ij}^2}
            \quad\text{with}\quad \Delta_{ij} = L_j(\theta) - L_j(\theta - \eta g_i)

        Over all pairs of tasks and all steps where both were measured. 0: the losses are linear,
        and the lookahead contains no more information than the Gramian. The noise of sketched
        Gramians, and of different dropout masks, is included.

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
                "pass a closure to recorder.observe.",
                "no-lookahead",
            )
        decrease = self.losses[:, None, :] - self.lookahead_losses  # time source target
        predicted = self.learning_rates[:, None, None] * self.gramians
        both = decrease.isfinite() & predicted.isfinite()
        error = (decrease - predicted).where(both, 0).square().sum()
        return (error / decrease.where(both, 0).square().sum()).sqrt().item()

    def save(self, path: str | Path) -> None:
        """Write to a safetensors file, completely or not at all.

        Example:
            >>> import tempfile, torch
            >>> trace = Trace(("a", "b"), torch.tensor([0]), torch.tensor([[0.5, 0.25]]))
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     trace.save(f"{folder}/trace.safetensors")
            ...     Trace.load(f"{folder}/trace.safetensors").losses.tolist()
            [[0.5, 0.25]]
        """
        save(self, path)

    @classmethod
    def load(cls, path: str | Path) -> "Trace":
        """Read what `save` wrote.

        Raises:
            InputError: If the file is missing, is no trace, or is of another version.
        """
        return load_as(cls, path)


def merge_traces(traces: Sequence[Trace]) -> Trace:
    """Merge the traces of several runs, or of several workers, into one.

    Tasks are matched by name. Values that a trace does not have are missing (NaN) at its times.
    `runs` holds the index of each measurement's run.

    Raises:
        InputError: If the traces are of different tasks or layers.

    Example:
        >>> one = Trace(("a", "b"), torch.tensor([0]), torch.tensor([[1.0, 2.0]]))
        >>> other = Trace(("b", "a"), torch.tensor([0]), torch.tensor([[4.0, 3.0]]))
        >>> merged = merge_traces([one, other])
        >>> merged.losses.tolist(), merged.runs.tolist()
        ([[1.0, 2.0], [3.0, 4.0]], [0, 1])
    """
    layers = {trace.layers for trace in traces if trace.layers is not None}
    if len(layers) > 1:
        raise InputError(
            f"Expected traces of the same layers to merge, but got {sorted(layers)}.",
            "different-layers",
        )
    numbered: list[Trace] = []
    first = 0
    for trace in traces:
        runs = torch.zeros_like(trace.steps) if trace.runs is None else trace.runs
        numbered.append(replace(trace, runs=runs + first))
        first += int(runs.max()) + 1 if len(runs) else 1
    return concatenate_traces(numbered)


def concatenate_traces(traces: Sequence[Trace]) -> Trace:
    """Join parts of one run's trace that follow each other in time.

    Layers that were frozen in a part are missing there.
    """
    if not traces:
        raise InputError("Expected at least one trace to merge, but got none.", "no-traces")
    layers = tuple(dict.fromkeys(layer for trace in traces for layer in trace.layers or ()))
    aligned = [_with_layers(_reorder(trace, traces[0].tasks), layers) for trace in traces]
    joined = {
        field.name: _join([getattr(trace, field.name) for trace in aligned], aligned)
        for field in fields(Trace)
        if field.name not in {"tasks", "layers", "recording"}
    }
    return Trace(tasks=traces[0].tasks, layers=layers or None, **joined)  # pyright: ignore[reportArgumentType]


def _with_layers(trace: Trace, layers: tuple[str, ...]) -> Trace:
    """The trace with all of these layers, those that it lacks as missing."""
    if trace.layers is None or trace.layers == layers:
        return trace
    places = torch.tensor([layers.index(layer) for layer in trace.layers])
    expanded: dict[str, Tensor] = {}
    for name in ("layer_gramians", "layer_norms"):
        values = getattr(trace, name)
        shape = (len(trace), len(layers), *values.shape[2:])
        expanded[name] = values.new_full(shape, torch.nan).index_copy(1, places, values)
    return replace(trace, layers=layers, **expanded)  # pyright: ignore[reportArgumentType]


def _reorder(trace: Trace, tasks: tuple[str, ...]) -> Trace:
    if trace.tasks == tasks:
        return trace
    check_same("the tasks of each trace", sorted(trace.tasks), sorted(tasks), "different-tasks")
    order = torch.tensor([trace.tasks.index(task) for task in tasks])
    reordered: dict[str, Tensor] = {}
    for name, axes in TASK_AXES.items():
        value = getattr(trace, name)
        if value is not None:
            for axis in axes:
                value = value.index_select(axis, order)
            reordered[name] = value
    return replace(trace, tasks=tasks, **reordered)  # pyright: ignore[reportArgumentType]


def _join(parts: Sequence[Tensor | None], traces: Sequence[Trace]) -> Tensor | None:
    example = next((part for part in parts if part is not None), None)
    if example is None:
        return None
    missing = torch.nan if example.is_floating_point() else 0
    return torch.cat(
        [
            example.new_full((len(trace), *example.shape[1:]), missing) if part is None else part
            for part, trace in zip(parts, traces, strict=True)
        ]
    )
