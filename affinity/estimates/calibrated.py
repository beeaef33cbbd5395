"""Calibrated gains: the gain of every group, predicted from the few that were measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from affinity.errors import InputError
from affinity.problems import TrainingResults

from .evidence import Evidence, Fit, factor_of
from .group_kernel import Cells, components
from .matrix import AffinityMatrix

_AT_ONCE = 500  # cells whose covariance is computed together where only its diagonal counts


@runtime_checkable
class GainPredictor(Protocol):
    """Predicts gains of groups that were not trained; `CalibratedGains` learns its weight.

    `PredictedGains` (also those from short branches) and `LinearizedNetwork` are gain predictors.
    """

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks, in the order of the columns."""
        ...

    def mean(self, groups: Bool[Tensor, "group task"]) -> Float[Tensor, "group task"]:
        """Expected gains; 0 for a task alone, NaN for tasks that are not in the group."""
        ...


@dataclass(frozen=True)
class CalibratedGains:
    r"""Predict the gain of each task in any group from the losses of a few trained networks.

    A hierarchical Gaussian model of the losses on evaluation rows, relative to the mean loss of
    the task alone (or in any network, if it was never trained alone):

    .. math::
        1 - \frac{L_{t,S,r}}{\overline{L}_t(\{t\})}
            = f_t(S) + m_t + \rho_{t,r} + \nu_{S,r} + \varepsilon_{t,S,r}, \qquad f_t(\{t\}) = 0

    :math:`\rho` is the effect of the rows and the seed of replicate r on task t in every network;
    it makes networks from different replicates comparable. The effect of sharing may differ, too,
    between replicates. :math:`\nu` is the random effect of one training, common to all its
    tasks: it makes a group's total gain less certain than the noise of its tasks suggests.
    :math:`f_t(S)` is a sum of Gaussian effects (`group_kernel`): having partners at all, their
    number (capacity), their identity, for this task and for all tasks; similarity to other groups;
    and :math:`\gamma_k \sum_{i \in S \setminus t} A^k_{it} / \sqrt{|S| - 1}` for affinity k. The
    variance of every effect, that of :math:`\gamma_k` included, is learned from the measurements
    under a weak prior, and so are each task's noise and scale. An affinity is therefore weighted by
    how well it predicts these measurements, and its sign is learned, too. If nothing predicts
    gains, the prediction for every group is the mean gain.

    Cost: cubic in the number of measured cells; one second for 300.

    Args:
        prior_variance: Prior mean of each effect's variance, relative to a task's own variance.
        prior_log_spread: Prior standard deviation of the logarithm of such a variance.
        n_fits: The number of likely sets of variances over which predictions are averaged. The
            single most likely set would be overconfident where few groups were measured.

    Raises:
        InputError: If a task was not measured at all.

    References:
        Rasmussen & Williams (2006), Gaussian Processes for Machine Learning, sections 2.7 and 5.4.
        Li et al. (2023), `Identification of Negative Transfers in Multitask Learning Using
        Surrogate Models <https://arxiv.org/abs/2303.14582>`_ predict with partners alone.

    Example:
        >>> from affinity.problems import load_digits
        >>> from affinity.problems import Problem, train_networks
        >>> from affinity.training import TrainingSettings
        >>> problem = load_digits(width=8).with_settings(TrainingSettings(epochs=1))
        >>> groups = [frozenset({name}) for name in problem.names] + [frozenset(problem.names)]
        >>> predicted = CalibratedGains()(train_networks(problem, groups, problem.replicates(1)))
        >>> pair = torch.tensor([[name in ("odd", "ink") for name in problem.names]])
        >>> predicted.mean(pair).isfinite().sum().item()  # a gain for each of the two
        2
    """

    prior_variance: float = 0.1
    prior_log_spread: float = 2.0
    n_fits: int = 8

    def __call__(
        self,
        measured: TrainingResults,
        matrices: Sequence[AffinityMatrix] = (),
        predictors: Mapping[str, GainPredictor] | None = None,
    ) -> "PredictedGains":
        """Fit to `measured`; cells that were not measured are NaN.

        Args:
            measured: Networks on replicates; only their evaluation losses are used.
            matrices: Affinities that may predict gains.
            predictors: Other predictors of the gains of whole groups, by name: a linearized network
                (`GradientSurrogate`), or the predictions from a cheaper measurement (`Branching`).
        """
        data = _Data.of(measured, matrices, predictors or {})
        evidence = Evidence(
            data.cells, data.replicate, data.gain, self.prior_variance, self.prior_log_spread
        )
        return PredictedGains(measured.tasks, _data=data, _fits=evidence.fits(self.n_fits))


@dataclass(frozen=True, eq=False)
class PredictedGains:
    """The posterior of every task's gain in every group.

    Args:
        tasks: The tasks, in the order of the columns.
    """

    tasks: tuple[str, ...]
    _data: "_Data" = field(repr=False)
    _fits: tuple[Fit, ...] = field(repr=False)

    @cached_property
    def _order(self) -> list[int]:
        """The position among the tasks of each column of `_data`."""
        return sorted(range(len(self.tasks)), key=self.tasks.__getitem__)

    @property
    def variances(self) -> dict[str, float]:
        """The variance of each effect relative to a task's own: how much each effect predicts."""
        effects = self._fits[0].variances
        return {
            name: sum(fit.variances[name] for fit in self._fits) / len(self._fits)
            for name in effects
        }

    def mean(self, groups: Bool[Tensor, "group task"]) -> Float[Tensor, "group task"]:
        """Expected gains; NaN for tasks that are not in the group."""
        return self._table(groups, self._means(self._cells(groups)))

    def standard_deviation(self, groups: Bool[Tensor, "group task"]) -> Float[Tensor, "group task"]:
        """Standard deviations of the gains; NaN for tasks that are not in the group."""
        every = self._cells(groups)
        deviations: list[Tensor] = []
        for rows in torch.arange(len(every)).split(_AT_ONCE):
            cells = every.take(rows)
            own, known = components(cells, cells), components(cells, self._data.cells)
            means: list[Tensor] = []
            variances: list[Tensor] = []
            for fit in self._fits:
                mean, covariance = fit.posterior(own, known)
                scale = self._scale(fit, cells)
                means.append(mean * scale)
                variances.append(covariance.diagonal().clamp(min=0) * scale.square())
            between = torch.stack(means).var(dim=0, correction=0)
            deviations.append((torch.stack(variances).mean(dim=0) + between).sqrt())
        return self._table(groups, torch.cat(deviations))

    def draw_totals(
        self, groups: Bool[Tensor, "group task"], count: int, seed: int = 0
    ) -> Float[Tensor, "draw group"]:
        """Posterior samples of each group's total gain, drawn jointly for all groups."""
        cells = self._cells(groups)
        row = groups.nonzero()[:, 0]
        scale = self._scale(self._fits[0], cells)  # the same in every fit

        def total(part: Tensor) -> Tensor:  # over the cells of each group
            sums = part.new_zeros(len(groups), part.shape[1])
            return sums.index_add_(0, row, scale[:, None] * part)

        own = {name: total(total(part).T) for name, part in components(cells, cells).items()}
        known = {name: total(part) for name, part in components(cells, self._data.cells).items()}
        generator = torch.Generator().manual_seed(seed)
        drawn: list[Tensor] = []
        for number, fit in enumerate(self._fits):
            mean, covariance = fit.posterior(own, known)
            own_count = (count + number) // len(self._fits)
            shape = (own_count, len(groups))
            noise = torch.randn(shape, generator=generator, dtype=torch.double)
            drawn.append(mean + noise @ factor_of(covariance).T)
        return torch.cat(drawn)

    def _cells(self, groups: Bool[Tensor, "group task"]) -> Cells:
        ordered = groups[:, self._order]
        row, task = ordered.nonzero(as_tuple=True)
        return self._data.features(ordered[row], task)

    def _means(self, cells: Cells) -> Float[Tensor, " cell"]:
        known = components(cells, self._data.cells)
        means = [fit.mean(known) * self._scale(fit, cells) for fit in self._fits]
        return torch.stack(means).mean(dim=0)

    def _table(
        self, groups: Bool[Tensor, "group task"], values: Float[Tensor, " cell"]
    ) -> Float[Tensor, "group task"]:
        table = torch.full(groups.shape, torch.nan, dtype=torch.double)
        table[groups[:, self._order]] = values
        return table[:, torch.tensor(self._order).argsort()]

    def _scale(self, fit: Fit, cells: Cells) -> Float[Tensor, " cell"]:
        return (self._data.scale * fit.scale)[cells.task]


@dataclass(frozen=True, eq=False)
class _Data:
    """The measurements in units of each task's own spread; tasks in the order of their names."""

    cells: Cells
    replicate: Int[Tensor, " cell"]
    gain: Float[Tensor, " cell"]
    scale: Float[Tensor, " task"]
    features: "_Features"

    @classmethod
    def of(
        cls,
        measured: TrainingResults,
        matrices: Sequence[AffinityMatrix],
        predictors: Mapping[str, GainPredictor],
    ) -> "_Data":
        # In the order of the names: the order of tasks and networks has no effect.
        tasks, networks = sorted(measured.tasks), measured.networks
        rows = sorted(range(len(networks)), key=lambda row: sorted(networks[row]))
        groups = torch.tensor([[name in networks[row] for name in tasks] for row in rows])
        columns = [measured.tasks.index(name) for name in tasks]
        losses = measured.evaluation_loss.double()[rows][:, :, columns]
        gains = losses.new_full(losses.shape, torch.nan)
        for column, name in enumerate(tasks):
            task_losses = losses[:, :, column]
            alone = task_losses[groups[:, column] & (groups.sum(dim=1) == 1)]
            reference = next((part for part in (alone, task_losses) if part.isfinite().any()), None)
            if reference is None:
                raise InputError(
                    f"Expected losses of every task in some network, but {name!r} has none.",
                    "task-not-measured",
                )
            gains[:, :, column] = 1 - task_losses / reference[reference.isfinite()].mean()
        scale = _scales(gains)
        features = _Features(
            {
                f"affinity: {matrix.estimator or number}": _standardized(matrix, tasks)
                for number, matrix in enumerate(matrices)
            },
            {
                f"predictor: {name}": _Standardized.of(predictor, groups, tasks, scale)
                for name, predictor in predictors.items()
            },
        )
        network, replicate, task = gains.isfinite().nonzero(as_tuple=True)
        return cls(
            cells=features(groups[network], task),
            replicate=replicate,
            gain=gains[network, replicate, task] / scale[task],
            scale=scale,
            features=features,
        )


@dataclass(frozen=True, eq=False)
class _Features:
    """Predictors of gains other than the group itself; tasks in the order of their names."""

    onto: Mapping[str, Float[Tensor, "source target"]]
    predictors: Mapping[str, "_Standardized"]

    def __call__(self, group: Bool[Tensor, "cell task"], task: Int[Tensor, " cell"]) -> Cells:
        others = group.double()
        others[torch.arange(len(task)), task] = 0.0
        count = others.sum(dim=1).clamp(min=1.0)
        features = {
            name: (others * values.T[task]).sum(dim=1) / count.sqrt()
            for name, values in self.onto.items()
        }
        features |= {name: predictor(group, task) for name, predictor in self.predictors.items()}
        return Cells(task, group, features)


@dataclass(frozen=True, eq=False)
class _Standardized:
    """A predictor in units of each task's spread, with mean square 1 over the measured groups."""

    predictor: GainPredictor
    order: list[int]  # rank by name of each of the predictor's tasks
    unit: Float[Tensor, " task"]

    @classmethod
    def of(
        cls,
        predictor: GainPredictor,
        measured: Bool[Tensor, "group task"],
        tasks: Sequence[str],
        scale: Float[Tensor, " task"],
    ) -> "_Standardized":
        unscaled = cls(predictor, [tasks.index(name) for name in predictor.tasks], scale)
        row, task = (measured & (measured.sum(dim=1, keepdim=True) > 1)).nonzero(as_tuple=True)
        size = unscaled(measured[row], task).square().mean().sqrt() if len(task) else 0.0
        return cls(predictor, unscaled.order, scale * size if size > 0 else scale)

    def __call__(
        self, group: Bool[Tensor, "cell task"], task: Int[Tensor, " cell"]
    ) -> Float[Tensor, " cell"]:
        distinct, row = group.unique(dim=0, return_inverse=True)
        gains = self.predictor.mean(distinct[:, self.order])[:, torch.tensor(self.order).argsort()]
        return (gains[row, task] / self.unit[task]).nan_to_num(0.0, 0.0, 0.0)


def _standardized(matrix: AffinityMatrix, tasks: Sequence[str]) -> Float[Tensor, "source target"]:
    """The matrix scaled to mean square 1 off the diagonal; unknown entries are 0."""
    order = [matrix.tasks.index(task) for task in tasks]
    values = matrix.values.double()[order][:, order].clone()
    values.fill_diagonal_(0.0)
    values = values.nan_to_num(0.0, 0.0, 0.0)
    off = ~torch.eye(len(tasks), dtype=torch.bool)
    size = values[off].square().mean().sqrt()
    return values / size if size > 0 else values


def _scales(gains: Float[Tensor, "network replicate task"]) -> Float[Tensor, " task"]:
    """The spread of each task's gains within replicates, shrunk towards the common one."""
    known = gains.isfinite()
    count = known.sum(dim=0, keepdim=True)
    mean = gains.where(known, 0.0).sum(dim=0, keepdim=True) / count.clamp(min=1)
    squares = (gains - mean).where(known, 0.0).square().sum(dim=(0, 1))
    degrees = (count - 1).clamp(min=0).sum(dim=(0, 1)).double()
    common = (squares.sum() / degrees.sum().clamp(min=1)).clamp(min=1e-12)
    pseudo_count = 3.0  # cells of the common spread that are added to each task
    return ((squares + pseudo_count * common) / (degrees + pseudo_count)).sqrt()
