"""Linearized network: the losses that any group of tasks would reach by fine-tuning it."""

from collections.abc import Collection
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, jacrev, vmap

from affinity.errors import InputError
from affinity.tasks import Task, loss_on_labelled

from .loss_predictor import LossPredictor
from .row_gradients import Projection, RowGradients

_TOLERANCE = 1e-8  # of the slope at the best weights


@dataclass(frozen=True, eq=False)
class LinearizedNetwork(LossPredictor):
    """A network as a linear function of a few features, around its trained parameters.

    `GradientSurrogate` makes it.

    Args:
        specs: The tasks, in the order of `training` and `evaluation`.
        training: Outputs and features of the rows to fit on, one entry per task.
        evaluation: The same of the rows to predict losses on.
        strength: The ridge penalty.
        network: The real network, if its losses are to be evaluated.
        projection: From features to its parameters.
        inputs: The inputs of the selection rows for the real network.
    """

    specs: tuple[Task, ...]
    training: list[RowGradients]
    evaluation: list[RowGradients]
    strength: float
    network: nn.Module | None
    projection: Projection
    inputs: Tensor
    _cache: dict[frozenset[str], dict[str, float]] = field(
        default_factory=dict, init=False, repr=False
    )

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks' names."""
        return tuple(task.name for task in self.specs)

    @property
    def method(self) -> str:
        """Whether the real network was evaluated."""
        what = "real network" if self.network is not None else "linearized network"
        return f"GradientSurrogate, {what}"

    def with_strength(self, strength: float) -> "LinearizedNetwork":
        """The same network with another ridge penalty."""
        return replace(self, strength=strength)

    def losses(self, group: Collection[str]) -> dict[str, float]:
        """Loss of each task of the group on the selection rows after fine-tuning; cached.

        Raises:
            InputError: If a task is unknown, or there is none.
        """
        wanted = frozenset(group)
        if wanted not in self._cache:
            self._cache[wanted] = self._losses(wanted)
        return dict(self._cache[wanted])

    def _losses(self, group: frozenset[str]) -> dict[str, float]:
        weights = self.weights(group)
        chosen = [position for position, task in enumerate(self.specs) if task.name in group]
        with torch.no_grad():
            if self.network is not None:
                return self._real_losses(self.network, weights, chosen)
            return {
                self.specs[position].name: _loss(
                    self.specs[position], self.evaluation[position], weights
                ).item()
                for position in chosen
            }

    def weights(self, group: Collection[str]) -> Float[Tensor, " dimension"]:
        """The weights of the features that fit the group's training rows best."""
        from scipy.optimize import minimize

        if unknown := sorted(set(group) - set(self.tasks)):
            raise InputError(
                f"Expected groups of the tasks {self.tasks}, but got {unknown}.", "unknown-task"
            )
        if not group:
            raise InputError("Expected a group of at least one task, but got none.", "no-tasks")
        chosen = [position for position, task in enumerate(self.specs) if task.name in group]

        def objective(weights: Tensor) -> Tensor:
            losses = [
                _loss(self.specs[position], self.training[position], weights) for position in chosen
            ]
            return self.strength / 2 * weights.square().sum() + torch.stack(losses).sum()

        def curvature(weights: np.ndarray) -> np.ndarray:
            at_weights = torch.from_numpy(weights)
            parts = [
                _curvature(self.specs[position], self.training[position], at_weights)
                for position in chosen
            ]
            return (torch.stack(parts).sum(dim=0) + self.strength * torch.eye(len(weights))).numpy()

        def value_and_slope(weights: np.ndarray) -> tuple[float, np.ndarray]:
            slope, value = grad_and_value(objective)(torch.from_numpy(weights))
            return value.item(), slope.numpy()

        best = minimize(
            value_and_slope,
            np.zeros(self.projection.dimensions),
            jac=True,
            hess=curvature,
            method="trust-exact",
            options={"gtol": _TOLERANCE},
        )
        return torch.from_numpy(best.x)

    def total_loss(self) -> float:
        """Losses of single tasks and of all together, relative to the trained network."""
        total = 0.0
        before = {
            task.name: loss_on_labelled(task.loss, rows.outputs, rows.targets, rows.weights).item()
            for task, rows in zip(self.specs, self.evaluation, strict=True)
        }
        for group in (*([name] for name in self.tasks), self.tasks):
            total += sum(loss / before[name] for name, loss in self.losses(group).items())
        return total

    def _real_losses(
        self, network: nn.Module, weights: Tensor, chosen: list[int]
    ) -> dict[str, float]:
        shift = self.projection.up(weights)
        values = dict(network.named_parameters())
        shifted = {k: values[k].detach() + part.to(values[k]) for k, part in shift.items()}
        was_training = network.training
        network.eval()
        predictions = functional_call(network, shifted, (self.inputs,))
        network.train(was_training)
        losses: dict[str, float] = {}
        for position in chosen:
            name = self.specs[position].name
            rows = self.evaluation[position]
            outputs = predictions[name][rows.places].double()
            loss = loss_on_labelled(self.specs[position].loss, outputs, rows.targets, rows.weights)
            losses[name] = loss.item()
        return losses


def _loss(task: Task, rows: RowGradients, weights: Tensor) -> Float[Tensor, ""]:
    outputs = rows.outputs + rows.features @ weights
    return loss_on_labelled(task.loss, outputs, rows.targets, rows.weights)


def _curvature(
    task: Task, rows: RowGradients, weights: Tensor
) -> Float[Tensor, "dimension dimension"]:
    """Second derivative of the mean loss, from that of each row by its outputs."""

    def of_row(outputs: Tensor, target: Tensor) -> Tensor:
        return task.loss(outputs[None], target[None])

    outputs = rows.outputs + rows.features @ weights
    share = torch.ones(len(outputs)) if rows.weights is None else rows.weights
    by_outputs = vmap(jacrev(jacrev(of_row)))(outputs, rows.targets)
    by_outputs = by_outputs * (share / share.sum())[:, None, None].to(outputs)
    bent = torch.einsum("rop,rpd->rod", by_outputs, rows.features)
    return torch.einsum("rod,roe->de", rows.features, bent)
