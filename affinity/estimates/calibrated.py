"""Calibrated gains: the gain of every group, predicted from the few that were measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from affinity.errors import InputError
from affinity.problems import TrainingResults

from .evidence import ON_THESE_ROWS, TRAINING, Evidence, Fit, factor_of
from .group_kernel import Cells, components, partners_of
from .matrix import AffinityMatrix

_AT_ONCE = 500  # cells whose covariance is computed together where only its diagonal counts


@runtime_checkable
class GainPredictor(Protocol):
    """Predicts gains of groups that were not trained; `CalibratedGains` learns its weight.

    `PredictedGains` (also those from short branches) and `Linearization` are gain predictors.
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

    A hierarchical Gaussian model of the losses on selection rows, relative to the mean loss of
    the task alone (or in networks of several tasks, if it was never trained alone):

    .. math::
        \frac{\overline{L}_t(\{t\}) - L_{t,S,r}}{|\overline{L}_t(\{t\})|}
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

    Cost: cubic in the number of measured cells; one second for 300. Many tasks are therefore
    modelled in `blocks` of tasks that are only trained together, or alone: the gain of a block is
    the mean gain of its tasks, and a block has one cell per network, however many tasks it has.

    Args:
        prior_variance: Prior mean of each effect's variance, relative to a task's own variance.
        prior_log_spread: Prior standard deviation of the logarithm of such a variance.
        n_fits: The number of likely sets of variances over which predictions are averaged. The
            single most likely set would be overconfident where few groups were measured.
        most_cells: Number of cells, those of the last replicates, from which the variances are
            learned; all if None. The prediction uses every cell.

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
    most_cells: int | None = None

    def __call__(
        self,
        measured: TrainingResults,
        matrices: Sequence[AffinityMatrix] = (),
        predictors: Mapping[str, GainPredictor] | None = None,
        blocks: Sequence[frozenset[str]] | None = None,
    ) -> "PredictedGains":
        """Fit to `measured`; cells that were not measured are NaN.

        Args:
            measured: Networks on replicates; only their evaluation losses are used.
            matrices: Affinities that may predict gains.
            predictors: Other predictors of the gains of whole groups, by name: a linearized network
                (`GradientSurrogate`), or the predictions from a cheaper measurement (`Branching`).
            blocks: A partition of the tasks; every network with several tasks is a union of blocks.
                Each task is a block of its own if None.

        Raises:
            InputError: If a task was not measured, or a network divides a block.
        """
        data = _Data.of(measured, matrices, predictors or {}, blocks)
        evidence = Evidence(
            data.cells, data.replicate, data.gain, self.prior_variance, self.prior_log_spread
        )
        return PredictedGains(
            measured.tasks, _data=data, _fits=evidence.fits(self.n_fits, self.most_cells)
        )


@dataclass(frozen=True, eq=False)
class PredictedGains:
    """The posterior of every task's gain in every group."""

    tasks: tuple[str, ...]
    _data: "_Data" = field(repr=False)
    _fits: tuple[Fit, ...] = field(repr=False)

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
        cells, row = self._cells(groups), self._data.membership(groups).nonzero()[:, 0]
        # The size of each effect in its group's total; scales are the same in every fit.
        n_tasks = torch.where(cells.is_alone, 1.0, cells.sizes[cells.task])
        weight = n_tasks * self._scale(self._fits[0], cells)
        own: dict[str, Tensor] = {}
        known: dict[str, Tensor] = {}
        for rows in torch.arange(len(cells)).split(_AT_ONCE):  # all at once takes much memory

            def add(sums: dict[str, Tensor], name: str, part: Tensor, where: Tensor = rows) -> None:
                if name not in sums:
                    sums[name] = part.new_zeros(len(groups), part.shape[1])
                sums[name].index_add_(0, row[where], weight[where, None] * part)

            some = cells.take(rows)
            for name, part in components(some, cells).items():
                total = part.new_zeros(len(groups), len(rows))
                add(own, name, total.index_add_(0, row, weight[:, None] * part.T).T)
            for name, part in components(some, self._data.cells).items():
                add(known, name, part)
        generator = torch.Generator().manual_seed(seed)
        drawn: list[Tensor] = []
        for number, fit in enumerate(self._fits):
            mean, covariance = fit.posterior(own, known)
            own_count = (count + number) // len(self._fits)
            shape = (own_count, len(groups))
            noise = torch.randn(shape, generator=generator, dtype=torch.double)
            drawn.append(mean + noise @ factor_of(covariance).T)
        return torch.cat(drawn)

    def error_of_one_training(self, groups: Bool[Tensor, "group task"]) -> Float[Tensor, " group"]:
        """Standard deviation of each group's total gain as measured by a single training.

        It contains the noise of each task, the effect of the training on all its tasks, and what
        sharing gains more or less on the rows of one replicate.
        """
        cells, row = self._cells(groups), self._data.membership(groups).nonzero()[:, 0]
        n_tasks = torch.where(cells.is_alone, 1.0, cells.sizes[cells.task])
        weight = n_tasks * self._data.scale[cells.task]
        variances: list[Tensor] = []
        for fit in self._fits:
            effects = weight * fit.scale[cells.task]
            on_rows = sum(fit.variances[name] for name in ON_THESE_ROWS) * cells.is_shared
            independent = weight.square() * fit.noise[cells.task] + effects.square() * on_rows
            zeros = weight.new_zeros(len(groups))
            common = zeros.index_add(0, row, effects).square() * fit.variances[TRAINING]
            variances.append(zeros.index_add(0, row, independent) + common)
        return torch.stack(variances).mean(dim=0).sqrt()

    def _cells(self, groups: Bool[Tensor, "group task"]) -> Cells:
        membership = self._data.membership(groups)
        row, block = membership.nonzero(as_tuple=True)
        is_alone = groups.sum(dim=1) == 1
        return self._data.features(membership[row], block, is_alone[row])

    def _means(self, cells: Cells) -> Float[Tensor, " cell"]:
        known = components(cells, self._data.cells)
        means = [fit.mean(known) * self._scale(fit, cells) for fit in self._fits]
        return torch.stack(means).mean(dim=0)

    def _table(
        self, groups: Bool[Tensor, "group task"], values: Float[Tensor, " cell"]
    ) -> Float[Tensor, "group task"]:
        membership = self._data.membership(groups)
        of_blocks = torch.full(membership.shape, torch.nan, dtype=torch.double)
        of_blocks[membership] = values
        return of_blocks[:, self._data.block_of].where(groups, torch.nan)

    def _scale(self, fit: Fit, cells: Cells) -> Float[Tensor, " cell"]:
        return (self._data.scale * fit.scale)[cells.task]


@dataclass(frozen=True, eq=False)
class _Data:
    """The measurements in units of each block's own spread; blocks in the order of their names."""

    block_of: Int[Tensor, " task"]  # tasks in the order of the results
    cells: Cells
    replicate: Int[Tensor, " cell"]
    gain: Float[Tensor, " cell"]
    scale: Float[Tensor, " block"]
    features: "_Features"

    @classmethod
    def of(
        cls,
        measured: TrainingResults,
        matrices: Sequence[AffinityMatrix],
        predictors: Mapping[str, GainPredictor],
        blocks: Sequence[frozenset[str]] | None,
    ) -> "_Data":
        # In the order of the names: the order of tasks and networks has no effect.
        tasks = measured.tasks
        ordered = sorted(sorted(block) for block in blocks or [{task} for task in tasks])
        block_of = torch.tensor(
            [
                next(position for position, block in enumerate(ordered) if task in block)
                for task in tasks
            ]
        )
        membership = torch.eye(len(ordered), dtype=torch.double)[block_of]  # task block
        sizes = membership.sum(dim=0)
        networks = sorted(measured.networks, key=sorted)
        groups = torch.tensor([[task in network for task in tasks] for network in networks])
        counts = groups.double() @ membership
        is_single = groups.sum(dim=1) == 1
        if bool(((counts > 0) & (counts < sizes) & ~is_single[:, None]).any()):
            raise InputError(
                "Expected networks that are unions of blocks, or single tasks, but a network "
                "has only some of the tasks of a block.",
                "network-divides-block",
            )
        rows = [measured.networks.index(network) for network in networks]
        gains = _gains(measured.evaluation_loss.double()[rows], groups, tasks, block_of)
        # One row per network, and one per block for all networks of its single tasks.
        labels = [
            (bool(single), tuple(blocks_in.nonzero()[:, 0].tolist()))
            for single, blocks_in in zip(is_single, counts, strict=True)
        ]
        row_labels = list(dict.fromkeys(labels))
        gains = _of_blocks(gains, torch.tensor([*map(row_labels.index, labels)]), membership)
        is_single = torch.tensor([single for single, _ in row_labels])
        unions = torch.zeros(len(row_labels), len(ordered), dtype=torch.bool)
        for row, (_, blocks_in) in enumerate(row_labels):
            unions[row, list(blocks_in)] = True
        scale = _scales(gains)
        features = _Features(
            sizes,
            {
                f"affinity: {matrix.estimator or number}": _standardized(matrix, ordered)
                for number, matrix in enumerate(matrices)
            },
            {
                f"predictor: {name}": _Standardized.of(
                    predictor, unions[~is_single], ordered, scale
                )
                for name, predictor in predictors.items()
            },
        )
        network, replicate, block = gains.isfinite().nonzero(as_tuple=True)
        return cls(
            block_of=block_of,
            cells=features(unions[network], block, is_single[network]),
            replicate=replicate,
            gain=gains[network, replicate, block] / scale[block],
            scale=scale,
            features=features,
        )

    def membership(self, groups: Bool[Tensor, "group task"]) -> Bool[Tensor, "group block"]:
        """The blocks of each group."""
        blocks = groups.new_zeros(len(groups), len(self.scale)).long()
        return blocks.index_add_(1, self.block_of, groups.long()) > 0


def _gains(
    losses: Float[Tensor, "network replicate task"],
    groups: Bool[Tensor, "network task"],
    tasks: Sequence[str],
    block_of: Int[Tensor, " task"],
) -> Float[Tensor, "network replicate task"]:
    """Gains relative to the mean loss of the task alone, or in any network of several tasks.

    The latter where a task of its block was never alone: all tasks of a block are compared with
    losses in the same networks.
    """
    is_single = groups.sum(dim=1) == 1
    is_known = losses.isfinite().any(dim=1)  # network task
    was_alone = is_known[is_single].any(dim=0)
    n_missing = torch.zeros(int(block_of.max()) + 1).index_add_(0, block_of, (~was_alone).float())
    gains = losses.new_full(losses.shape, torch.nan)
    for column, name in enumerate(tasks):
        rows = is_single if n_missing[block_of[column]] == 0 else ~is_single
        reference = losses[rows, :, column]
        reference = reference[reference.isfinite()]
        if not len(reference):
            raise InputError(
                f"Expected losses of every task in some network, but {name!r} has none.",
                "task-not-measured",
            )
        level = reference.mean()
        gains[:, :, column] = level.sign() * (1 - losses[:, :, column] / level)
    return gains


def _of_blocks(
    gains: Float[Tensor, "network replicate task"],
    row_of: Int[Tensor, " network"],
    membership: Float[Tensor, "task block"],
) -> Float[Tensor, "row replicate block"]:
    """Mean gain of each block's tasks over the networks of each row; NaN where there is none."""
    known = gains.isfinite()
    n_rows = int(row_of.max()) + 1

    def total(values: Tensor) -> Tensor:
        sums = values.new_zeros(n_rows, gains.shape[1], membership.shape[1])
        return sums.index_add_(0, row_of, values @ membership)

    return total(gains.where(known, 0.0)) / total(known.double())  # 0 / 0 is NaN


@dataclass(frozen=True, eq=False)
class _Features:
    """Predictors of gains other than the group itself; blocks in the order of their names."""

    sizes: Float[Tensor, " block"]
    onto: Mapping[str, Float[Tensor, "source target"]]
    predictors: Mapping[str, "_Standardized"]

    def __call__(
        self,
        group: Bool[Tensor, "cell block"],
        block: Int[Tensor, " cell"],
        is_alone: Bool[Tensor, " cell"],
    ) -> Cells:
        others = partners_of(group, block, self.sizes, is_alone)
        count = others.sum(dim=1).clamp(min=1.0)
        features = {
            name: (others * values.T[block]).sum(dim=1) / count.sqrt()
            for name, values in self.onto.items()
        }
        features |= {
            name: predictor(group, block).where(~is_alone, 0.0)
            for name, predictor in self.predictors.items()
        }
        return Cells(block, group, features, self.sizes, is_alone)


@dataclass(frozen=True, eq=False)
class _Standardized:
    """A predictor in units of each block's spread, with mean square 1 over the measured groups."""

    predictor: GainPredictor
    membership: Float[Tensor, "task block"]  # tasks in the order of the predictor
    unit: Float[Tensor, " block"]

    @classmethod
    def of(
        cls,
        predictor: GainPredictor,
        measured: Bool[Tensor, "group block"],
        blocks: Sequence[Sequence[str]],
        scale: Float[Tensor, " block"],
    ) -> "_Standardized":
        membership = torch.tensor([[t in block for block in blocks] for t in predictor.tasks])
        unscaled = cls(predictor, membership.double(), scale)
        row, block = measured.nonzero(as_tuple=True)
        size = unscaled(measured[row], block).square().mean().sqrt() if len(block) else 0.0
        return cls(predictor, unscaled.membership, scale * size if size > 0 else scale)

    def __call__(
        self, group: Bool[Tensor, "cell block"], block: Int[Tensor, " cell"]
    ) -> Float[Tensor, " cell"]:
        distinct, row = group.unique(dim=0, return_inverse=True)
        gains = self.predictor.mean((distinct.double() @ self.membership.T) > 0)
        of_blocks = gains.nan_to_num(0.0) @ self.membership / self.membership.sum(dim=0)
        return (of_blocks[row, block] / self.unit[block]).nan_to_num(0.0, 0.0, 0.0)


def _standardized(
    matrix: AffinityMatrix, blocks: Sequence[Sequence[str]]
) -> Float[Tensor, "source target"]:
    """Mean affinity of blocks, with mean square 1 over pairs; unknown entries are 0."""
    membership = torch.tensor([[task in block for block in blocks] for task in matrix.tasks])
    membership = membership.double()
    values = matrix.values.double().clone()
    values.fill_diagonal_(0.0)
    pairs = membership.T @ (1 - torch.eye(len(values), dtype=torch.double)) @ membership
    means = membership.T @ values.nan_to_num(0.0, 0.0, 0.0) @ membership / pairs.clamp(min=1.0)
    size = means[pairs > 0].square().mean().sqrt()
    return means / size if size > 0 else means


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
