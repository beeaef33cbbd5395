"""A linearized network: what any group of tasks would reach by fine-tuning it."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from itertools import combinations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

from affinity.errors import InputError
from affinity.tasks import Task

from .group_scores import Candidate, GroupScores
from .matrix import AffinityMatrix
from .projection import Projection
from .row_gradients import RowGradients


@dataclass(frozen=True, eq=False)
class LinearizedNetwork:
    """A network as a linear function of a few features, around where it was trained.

    `GradientSurrogate` makes it.

    Args:
        tasks: In the order of `training` and `judging`.
        training: Outputs and features of the rows to fit on, a task.
        judging: Of the rows to predict losses on.
        strength: Of the ridge.
        network: The real one, where its losses are wanted.
        projection: From features to its parameters.
        inputs: The judging rows of the real one.
    """

    tasks: tuple[Task, ...]
    training: list[RowGradients]
    judging: list[RowGradients]
    strength: float
    network: nn.Module | None
    projection: Projection
    inputs: Tensor

    @property
    def names(self) -> tuple[str, ...]:
        """The tasks' names."""
        return tuple(task.name for task in self.tasks)

    def with_strength(self, strength: float) -> "LinearizedNetwork":
        """The same, with another strength of the ridge."""
        return replace(self, strength=strength)

    def losses(self, group: Collection[str]) -> dict[str, float]:
        """Loss of each task of the group on the judging rows, fine-tuned on the group.

        Raises:
            InputError: If a task is unknown, or there is none.
        """
        weights = self.weights(group)
        chosen = [at for at, task in enumerate(self.tasks) if task.name in group]
        with torch.no_grad():
            if self.network is not None:
                return self._real_losses(self.network, weights, chosen)
            return {
                self.tasks[at].name: _loss(self.tasks[at], self.judging[at], weights).item()
                for at in chosen
            }

    def weights(self, group: Collection[str]) -> Float[Tensor, " dimension"]:
        """The weights of the features that fit the group's training rows best."""
        if unknown := sorted(set(group) - set(self.names)):
            raise InputError(f"Expected groups of the tasks {self.names}, but got {unknown}.")
        if not group:
            raise InputError("Expected a group of at least one task, but got none.")
        chosen = [at for at, task in enumerate(self.tasks) if task.name in group]
        weights = torch.zeros(self.projection.dimensions).double().requires_grad_()
        search = torch.optim.LBFGS(
            [weights],
            max_iter=300,
            history_size=30,
            tolerance_grad=1e-9,
            tolerance_change=1e-14,
            line_search_fn="strong_wolfe",
        )

        def objective() -> Tensor:
            search.zero_grad()
            loss = self.strength / 2 * weights.square().sum()
            for at in chosen:
                loss = loss + _loss(self.tasks[at], self.training[at], weights)
            loss.backward()
            return loss

        with torch.enable_grad():
            search.step(objective)  # pyright: ignore[reportArgumentType]
        return weights.detach()

    def total_loss(self) -> float:
        """Losses of single tasks and of all together, each beside that of the network as it is."""
        total = 0.0
        before = {
            task.name: task.loss(rows.outputs, rows.targets).item()
            for task, rows in zip(self.tasks, self.judging, strict=True)
        }
        for group in (*([name] for name in self.names), self.names):
            total += sum(loss / before[name] for name, loss in self.losses(group).items())
        return total

    def predict(self, groups: Iterable[Collection[str]]) -> GroupScores:
        r"""Predicted gain of each task in each group, and alone: the share of its loss gone.

        .. math:: G_j(S) = (L_j(\{j\}) - L_j(S)) / L_j(\{j\})
        """
        alone = {name: self.losses([name])[name] for name in self.names}
        distinct = dict.fromkeys(map(frozenset, (*([name] for name in self.names), *groups)))
        return GroupScores(
            self.names,
            tuple(
                Candidate(
                    {name: 1 - loss / alone[name] for name, loss in self.losses(group).items()}
                    if len(group) > 1
                    else dict.fromkeys(group, 0.0)
                )
                for group in distinct
            ),
        )

    def matrix(self) -> AffinityMatrix:
        """Predicted gain of the target in a pair with the source."""
        values = torch.zeros(len(self.names), len(self.names)).double()
        for candidate in self.predict(combinations(self.names, 2)).candidates:
            for target, gain in candidate.scores.items():
                for source in candidate.trained - {target}:
                    values[self.names.index(source), self.names.index(target)] = gain
        what = "real network" if self.network is not None else "linearized network"
        return AffinityMatrix(self.names, values, estimator=f"GradientSurrogate, {what}")

    def _real_losses(
        self, network: nn.Module, weights: Tensor, chosen: list[int]
    ) -> dict[str, float]:
        shift = self.projection.up(weights)
        own = dict(network.named_parameters())
        shifted = {name: own[name].detach() + part.to(own[name]) for name, part in shift.items()}
        was_training = network.training
        network.eval()
        predictions = functional_call(network, shifted, (self.inputs,))
        network.train(was_training)
        found: dict[str, float] = {}
        for at in chosen:
            name = self.tasks[at].name
            rows = self.judging[at]
            outputs = predictions[name][rows.places].double()
            found[name] = self.tasks[at].loss(outputs, rows.targets).item()
        return found


def _loss(task: Task, rows: RowGradients, weights: Tensor) -> Float[Tensor, ""]:
    return task.loss(rows.outputs + rows.features @ weights, rows.targets)
