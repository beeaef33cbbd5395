"""Evidence: the probability of the measured gains under given variances of their effects."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from .group_kernel import Cells, components

LIMITS = (-10.0, 5.0)  # bounds on the logarithm of a variance
NOISE = 0.3  # prior variance of the noise, and of the effect of a replicate's rows
ON_THESE_ROWS = ("any on these rows", "partner on these rows")  # effects on one replicate's rows
TRAINING = "training"  # the effect of a single training, common to its tasks
_VAGUE_SCALE = 0.7  # prior standard deviation of the logarithm of a task's scale
_FLAT = 1e2  # prior variance of a task's mean: practically unbounded
_JITTER = 1e-8
_PROPOSED = 64  # sets of variances drawn by importance sampling


@dataclass(frozen=True, eq=False)
class Fit:
    """The model with one likely set of variances."""

    variances: Mapping[str, float]
    scale: Float[Tensor, " task"]  # per task, the size of its effects relative to its spread
    noise: Float[Tensor, " task"]  # per task, the variance of the noise relative to its spread
    cells: Cells
    # lower Cholesky factor of the covariance of the measured gains
    factor: Float[Tensor, "cell cell"]
    weights: Float[Tensor, " cell"]  # the inverse of that covariance times the measured gains

    def covariance(self, parts: Mapping[str, Float[Tensor, "a b"]]) -> Float[Tensor, "a b"]:
        """Prior covariance of effects, from their similarity by component."""
        total = torch.zeros_like(next(iter(parts.values())))
        for name, part in parts.items():
            total.add_(part, alpha=self.variances[name])
        return total

    def posterior(
        self, own: Mapping[str, Float[Tensor, "a a"]], known: Mapping[str, Float[Tensor, "a b"]]
    ) -> tuple[Float[Tensor, " a"], Float[Tensor, "a a"]]:
        """Posterior mean and covariance of effects, by component of the covariance.

        `own` is the similarity of the effects to each other, `known` that to the data.
        """
        with_data = self.covariance(known) * self.scale[self.cells.task]
        half = torch.linalg.solve_triangular(self.factor, with_data.T, upper=False)
        return with_data @ self.weights, self.covariance(own) - half.T @ half

    def mean(self, known: Mapping[str, Float[Tensor, "a b"]]) -> Float[Tensor, " a"]:
        """Posterior mean of effects, from their similarity to the data."""
        return self.covariance(known) @ (self.scale[self.cells.task] * self.weights)


@dataclass(frozen=True, eq=False)
class Evidence:
    """The posterior probability of variances, given measured gains in units of a task's spread.

    The unknowns are logarithms: the variance of each effect, then for each task the scale of its
    effects, the variance that the rows of a replicate add, and that of the noise.
    """

    cells: Cells
    replicate: Int[Tensor, " cell"]  # of each cell
    gain: Float[Tensor, " cell"]  # measured, of each cell
    prior_variance: float  # mean, of each effect
    prior_log_spread: float  # standard deviation of the logarithm of variances

    def fits(self, count: int, most_cells: int | None = None) -> tuple[Fit, ...]:
        """The most likely variances of effects, and others drawn by their probability.

        If there are more than `most_cells`, the variances are learned from that many cells, those
        of the last replicates; all cells are used once the variances are known.
        """
        from scipy.optimize import minimize

        part = self
        if most_cells is not None and len(self.cells) > most_cells:
            rows = self.replicate.argsort(stable=True)[-most_cells:]
            cells, replicate, gain = self.cells.take(rows), self.replicate[rows], self.gain[rows]
            part = replace(self, cells=cells, replicate=replicate, gain=gain)
        bounds = [LIMITS] * len(part._centre)
        best = minimize(part.slope, part._centre, jac=True, method="L-BFGS-B", bounds=bounds).x
        return tuple(self._fit(unknowns) for unknowns in part._likely(best, count))

    def loss(self, unknowns: np.ndarray) -> float:
        """Minus the logarithm of the posterior probability, up to a constant."""
        return self._loss(unknowns, self._model(unknowns))

    def slope(self, unknowns: np.ndarray) -> tuple[float, np.ndarray]:
        """That loss, and its gradient."""
        model, task = self._model(unknowns), self.cells.task
        inverse = torch.cholesky_inverse(model.factor)
        # Half of the derivative by each entry of the covariance.
        slope = (inverse - torch.outer(model.weights, model.weights)) / 2
        own = model.scale[task]
        by_effect = self._flat_parts @ (slope * own[:, None] * own).flatten()
        by_task = torch.stack(
            [
                2 * (slope * model.effects).sum(dim=1),
                model.rows[task] * (slope * self._same_rows).sum(dim=1),
                model.noise[task] * slope.diagonal(),
            ]
        )  # kind cell
        per_task = by_task.new_zeros(3, self._n_tasks).index_add_(1, task, by_task)
        gradient = torch.cat([model.variance * by_effect, per_task.flatten()]).numpy()
        off = (unknowns - self._centre) / self._spread
        return self._loss(unknowns, model), gradient + off / self._spread

    def _loss(self, unknowns: np.ndarray, model: "_Model") -> float:
        off = (unknowns - self._centre) / self._spread
        value = 0.5 * self.gain @ model.weights + model.factor.diagonal().log().sum()
        return float(value) + 0.5 * float(off @ off)

    def _fit(self, unknowns: np.ndarray) -> Fit:
        model = self._model(unknowns)
        variances = dict(zip(self._names, model.variance.tolist(), strict=True))
        return Fit(variances, model.scale, model.noise, self.cells, model.factor, model.weights)

    def _likely(self, best: np.ndarray, count: int) -> list[np.ndarray]:
        """The best unknowns, and others by importance sampling of the effects' variances."""
        if count == 1:
            return [best]
        n_effects, step = len(self._names), 1e-3
        units = step * np.eye(len(best))[:n_effects]
        slopes = [self.slope(best + unit)[1] - self.slope(best - unit)[1] for unit in units]
        curvature = np.array(slopes)[:, :n_effects] / (2 * step)
        spread, axes = np.linalg.eigh((curvature + curvature.T) / 2)
        generator = np.random.default_rng(0)
        # Student's t with 5 degrees of freedom: heavier tails than the posterior.
        standard = generator.standard_normal((_PROPOSED, n_effects))
        standard /= np.sqrt(generator.chisquare(5, (_PROPOSED, 1)) / 5)
        proposed = np.tile(best, (_PROPOSED, 1))
        proposed[:, :n_effects] += standard / np.sqrt(np.maximum(spread, 0.05)) @ axes.T
        proposed = np.clip(proposed, *LIMITS)
        density = -(5 + n_effects) / 2 * np.log1p((standard**2).sum(axis=1) / 5)
        weight = np.array([-self.loss(unknowns) for unknowns in proposed]) - density
        share = np.cumsum(np.exp(weight - weight.max()))
        places = (np.arange(count) + 0.5) / count
        return list(proposed[np.searchsorted(share / share[-1], places)])

    def _model(self, unknowns: np.ndarray) -> "_Model":
        values, task = torch.from_numpy(np.exp(unknowns)), self.cells.task
        variance, of_tasks = values[: len(self._names)], values[len(self._names) :]
        scale, rows, noise = of_tasks.unflatten(0, (3, self._n_tasks))
        own = scale[task]
        effects = (variance @ self._flat_parts).view_as(self._same_rows) * own[:, None] * own
        same = _FLAT * self._same_task + rows[task] * self._same_rows
        factor = factor_of(effects + same + noise[task].diag())
        weights = torch.cholesky_solve(self.gain[:, None], factor)[:, 0]
        return _Model(variance, scale, rows, noise, effects, factor, weights)

    @cached_property
    def _by_name(self) -> dict[str, Float[Tensor, "cell cell"]]:
        parts = components(self.cells, self.cells)
        # The effect of sharing differs from replicate to replicate. That part cannot be predicted,
        # but it is not noise: groups on the same rows have it in common.
        return {
            **parts,
            ON_THESE_ROWS[0]: parts["any of task"] * self._same_rows,
            ON_THESE_ROWS[1]: parts["partner of task"] * self._same_rows,
            TRAINING: self._same_training,  # the random effect that its tasks have in common
        }

    @property
    def _names(self) -> list[str]:
        return list(self._by_name)

    @cached_property
    def _flat_parts(self) -> Float[Tensor, "effect entry"]:
        return torch.stack([part.flatten() for part in self._by_name.values()])

    @property
    def _n_tasks(self) -> int:
        return self.cells.group.shape[1]

    @cached_property
    def _same_task(self) -> Float[Tensor, "cell cell"]:
        return (self.cells.task[:, None] == self.cells.task).double()

    @cached_property
    def _same_rows(self) -> Float[Tensor, "cell cell"]:
        return self._same_task * (self.replicate[:, None] == self.replicate)

    @cached_property
    def _same_training(self) -> Float[Tensor, "cell cell"]:
        """1 for two tasks of one training."""
        trained = torch.column_stack([self.cells.group, self.cells.is_alone])
        group = trained.unique(dim=0, return_inverse=True)[1]
        same = (group[:, None] == group) & (self.replicate[:, None] == self.replicate)
        return same.double()

    @cached_property
    def _centre(self) -> np.ndarray:
        parts = [len(self._names), self._n_tasks, 2 * self._n_tasks]
        return np.repeat(np.log([self.prior_variance, 1.0, NOISE]), parts)

    @cached_property
    def _spread(self) -> np.ndarray:
        parts = [len(self._names), self._n_tasks, 2 * self._n_tasks]
        return np.repeat([self.prior_log_spread, _VAGUE_SCALE, self.prior_log_spread], parts)


class _Model(NamedTuple):
    """The model at one value of the unknowns.

    Variances of effects; for each task the scale of its effects and the variances of rows and of
    noise; the covariance of effects; the factor of the whole covariance, and its inverse times the
    measured gains.
    """

    variance: Float[Tensor, " effect"]
    scale: Float[Tensor, " task"]
    rows: Float[Tensor, " task"]
    noise: Float[Tensor, " task"]
    effects: Float[Tensor, "cell cell"]
    factor: Float[Tensor, "cell cell"]
    weights: Float[Tensor, " cell"]


def factor_of(covariance: Float[Tensor, "cell cell"]) -> Float[Tensor, "cell cell"]:
    """Lower Cholesky factor, with as little jitter on the diagonal as needed."""
    jitter = _JITTER * covariance.diagonal().mean().clamp(min=1e-12)
    eye = torch.eye(len(covariance), dtype=torch.double)
    while True:
        factor, failed = torch.linalg.cholesky_ex(covariance + jitter * eye)
        if not failed:
            return factor
        jitter = 10 * jitter
