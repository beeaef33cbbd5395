"""Linearization: the loss after fine-tuning on any mixture of data sets, without training."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import isclose, nan
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from affinity.errors import InputError, check_choice, check_known, check_number, warn
from affinity.recording.shards import refuse_shards
from affinity.recording.shared_parameters import Shared, selected_parameters, unwrapped
from affinity.tasks import check_names

from .data_statistics import DataStatistics, EvaluateBatch, Measure, evaluate_batch, means
from .gradient_files import read_sums
from .group_scores import CandidateGroup, GroupScores
from .matrix import AffinityMatrix
from .output_losses import OUTPUT_LOSSES, OutputLoss
from .sparse_projection import SparseProjection

Group = Collection[str] | Mapping[str, float]  # sharing the steps equally, or by these shares
_TABLES = ("losses", "gradients", "curvatures", "n_labels", "n_rows")
_BITS_DIFFER = 0.1  # relative error of a curvature, above that of 8 bits
_RIDGES = tuple(10 ** (power / 2) for power in range(-8, 7))  # of the mean curvature


@dataclass(frozen=True, eq=False)
class Linearization:
    r"""Losses after fine-tuning one network on any mixture, from statistics of each data set.

    Around the network's parameters, with projected gradients :math:`g_k` and Gauss-Newton matrices
    :math:`H_k` of the data sets, fine-tuning on the mixture a moves along

    .. math::
        w_a = -\Big(\sum_k a_k H_k + \lambda I\Big)^{-1} \sum_k a_k g_k, \qquad
        L_t(a) \approx L_t + g_t^T w_a + \tfrac{1}{2} w_a^T H_t w_a

    where :math:`L_t, g_t, H_t` are those of the target's held-out rows. For a model that is linear
    in its parameters, with a squared error, this is exactly ridge regression.

    Args:
        training: Statistics of the data sets to train on.
        held_out: Statistics of the targets, on rows that nothing is trained on.
        ridge: lambda.
        parameters: Names of the parameters whose gradients were taken.
        shared_rows: For each target, the number of its held-out rows that a data set trains on.
        same_epochs: Whether a group without shares reads each of its data sets as often as a single
            data set would be read, so that larger groups take more steps.

    References:
        Li et al. (2025), `Efficient Ensemble for Fine-tuning Language Models on Multiple Datasets
        <https://arxiv.org/abs/2505.21930>`_; Park et al. (2023), `TRAK
        <https://arxiv.org/abs/2303.14186>`_.
    """

    training: DataStatistics
    held_out: DataStatistics
    ridge: float
    parameters: tuple[str, ...]
    n_parameters: int
    shared_rows: Mapping[str, int]
    same_epochs: bool = False

    @property
    def tasks(self) -> tuple[str, ...]:
        """The data sets that are sources and targets."""
        return tuple(name for name in self.training.names if name in self.targets)

    @property
    def sources(self) -> tuple[str, ...]:
        """The data sets that can be trained on."""
        return self.training.names

    @property
    def targets(self) -> tuple[str, ...]:
        """The data sets whose loss is predicted."""
        return self.held_out.names

    def with_ridge(self, ridge: float | None) -> "Linearization":
        """The same statistics with another ridge penalty; None: the best for held-out rows.

        Raises:
            InputError: If it is not above 0, or nothing depends on the parameters.
        """
        if ridge is not None:
            check_number("the ridge", ridge, "invalid-setting", above=0)
            return replace(self, ridge=ridge)
        size = self.training.curvatures.diagonal(dim1=1, dim2=2).mean().item()
        if not size > 0:
            raise InputError(
                "Expected outputs that depend on the chosen parameters, but their curvature is 0: "
                "fine-tuning these parameters changes nothing.",
                "no-curvature",
            )
        candidates = (replace(self, ridge=size * factor) for factor in _RIDGES)
        return min(candidates, key=Linearization.held_out_error)

    def with_rows(
        self,
        gradients: str | Path,
        training: Mapping[str, Sequence[int]] | None = None,
        held_out: Mapping[str, Sequence[int]] | None = None,
    ) -> "Linearization":
        """The same network from other rows, whose gradients `linearize` kept: no backward pass.

        The ridge stays, `with_ridge(None)` chooses it again; `shared_rows` are those of all rows.

        Args:
            gradients: The folder.
            training: The places of the rows of some data sets, in the order in which they were
                measured (of batches with ``per_row=False``); other data sets keep all.
            held_out: The same of targets.

        Raises:
            InputError: If a data set or row is unknown, rows have no labels, or the gradients are
                missing or those of another call.
        """
        return replace(
            self,
            training=_of_rows(self.training, gradients, "training", training or {}),
            held_out=_of_rows(self.held_out, gradients, "held_out", held_out or {}),
        )

    def losses(self, group: Group, targets: Sequence[str] | None = None) -> dict[str, float]:
        """Predicted loss of each target after fine-tuning on the group.

        Args:
            group: Data sets, each with the same share of the steps (1 with `same_epochs`); or the
                share of each. Shares that add up to 2 stand for twice as many steps.

        Raises:
            InputError: If a data set is unknown, or there is none, or a share is not above 0.
        """
        wanted = self.targets if targets is None else targets
        check_known("targets", wanted, self.targets, "unknown-task")
        rows = [self.targets.index(name) for name in wanted]
        weights = self.weights(group)
        rest = self.held_out
        bent = torch.stack([weights @ (rest.curvatures[row] @ weights) for row in rows])
        values = rest.losses[rows] + rest.gradients[rows] @ weights + bent / 2
        return dict(zip(wanted, values.tolist(), strict=True))

    def predict(self, groups: Iterable[Collection[str]]) -> GroupScores:
        r"""Predicted gain of each task in each group, and alone: the reduction of its loss.

        .. math:: G_j(S) = (L_j(\{j\}) - L_j(S)) / |L_j(\{j\})|
        """
        alone = {name: self.losses([name])[name] for name in self.tasks}
        distinct = dict.fromkeys(map(frozenset, (*([name] for name in self.tasks), *groups)))
        candidates: list[CandidateGroup] = []
        for group in distinct:
            losses = self.losses(group)
            gains = {
                name: (alone[name] - losses[name]) / abs(alone[name])
                for name in self.tasks
                if name in group
            }
            candidates.append(CandidateGroup(gains))
        return GroupScores(self.tasks, tuple(candidates))

    def mean(self, groups: Bool[Tensor, "group task"]) -> Float[Tensor, "group task"]:
        """The same gains as a table; NaN for tasks that are not in the group."""
        named = [
            frozenset(name for name, inside in zip(self.tasks, group, strict=True) if inside)
            for group in groups.tolist()
        ]
        scores = {group.trained: group.scores for group in self.predict(named).candidates}
        rows = [[scores[group].get(name, nan) for name in self.tasks] for group in named]
        return torch.tensor(rows, dtype=torch.double)

    def matrix(self) -> AffinityMatrix:
        """Predicted gain of the target in a pair with the source."""
        values = torch.zeros(len(self.tasks), len(self.tasks)).double()
        for candidate in self.predict(combinations(self.tasks, 2)).candidates:
            for target, gain in candidate.scores.items():
                for source in candidate.trained - {target}:
                    values[self.tasks.index(source), self.tasks.index(target)] = gain
        return AffinityMatrix(self.tasks, values, estimator="linearized fine-tuning")

    def weights(self, group: Group) -> Float[Tensor, " dimension"]:
        """The shift of the network in the projected space after fine-tuning on the group."""
        shares = self._shares(group)
        rows = [self.sources.index(name) for name in shares]
        share = torch.tensor(list(shares.values())).double()
        slope = share @ self.training.gradients[rows]
        system = self.ridge * torch.eye(len(slope)).double()
        for row, size in zip(rows, share.tolist(), strict=True):
            system.add_(self.training.curvatures[row], alpha=size)
        factor = torch.linalg.cholesky(system)
        return -torch.cholesky_solve(slope[:, None], factor)[:, 0]

    def best_sources(
        self, target: str, most: int | None = None, leave_out: Collection[str] = ()
    ) -> tuple[tuple[str, ...], tuple[float, ...]]:
        """Sources of a target, and its predicted loss as each is added; greedy, the best first.

        It stops where no other source lowers the predicted loss. The target's own training rows
        are a source like any other; `leave_out` excludes it, or others.

        Raises:
            InputError: If the target is unknown, or no source is left.
        """
        chosen: list[str] = []
        losses: list[float] = []
        check_known("data sets to leave out", leave_out, self.sources, "unknown-task")
        left = [name for name in self.sources if name not in leave_out]
        if not left:
            raise InputError("Expected at least one source, but all are left out.", "no-tasks")
        while left and (most is None or len(chosen) < most):
            by_source = {
                source: self.losses([*chosen, source], [target])[target] for source in left
            }
            best = min(by_source, key=by_source.__getitem__)
            if losses and by_source[best] >= losses[-1]:
                break
            chosen.append(best)
            losses.append(by_source[best])
            left.remove(best)
        return tuple(chosen), tuple(losses)

    def held_out_error(self) -> float:
        """Losses on held-out rows relative to the network: of each data set alone, and of all."""
        start = dict(zip(self.targets, self.held_out.losses.tolist(), strict=True))
        together = self.losses(self.sources)
        alone = {name: self.losses([name], [name])[name] for name in self.tasks}
        return sum(
            loss / max(abs(start[name]), torch.finfo(torch.float32).tiny)
            for losses in (together, alone)
            for name, loss in losses.items()
        )

    def _shares(self, group: Group) -> dict[str, float]:
        if isinstance(group, Mapping):
            shares = {name: float(share) for name, share in group.items()}
        else:
            n_steps = len(set(group)) if self.same_epochs else 1
            shares = {name: n_steps / len(set(group)) for name in dict.fromkeys(group)}
        check_known("data sets of the group", shares, self.sources, "unknown-task")
        if not shares:
            raise InputError("Expected a group of at least one data set.", "no-tasks")
        if invalid := {n: share for n, share in shares.items() if not 0 < share < float("inf")}:
            raise InputError(f"Expected shares above 0, but got {invalid}.", "invalid-share")
        return shares


def linearize(
    model: nn.Module,
    batches: Mapping[str, Iterable[Any]],
    held_out: Mapping[str, Iterable[Any]],
    loss: str | Mapping[str, str],
    *,
    parameters: Shared = None,
    dimensions: int | None = 200,
    rows: int | None = 500,
    probes: int = 2,
    per_row: bool = True,
    optimizer: torch.optim.Optimizer | None = None,
    ridge: float | None = None,
    same_epochs: bool = False,
    evaluate: EvaluateBatch = evaluate_batch,
    seed: int = 0,
    gradients: str | Path | None = None,
    bits: int = 32,
) -> Linearization:
    r"""Linearize a network to predict its losses after fine-tuning on any mixture of data sets.

    Of every row the gradient of its loss is taken, and of its outputs' curvature a random root:
    :math:`J^T S r` with :math:`E[r r^T] = I`, whose outer products are the Gauss-Newton matrix in
    expectation (exactly, where a row has at most `probes` outputs). They are projected to
    `dimensions` random directions and added up. Memory: one gradient, and d² numbers per data set.
    Cost: 1 + `probes` backward passes per row, or per batch with ``per_row=False``, which gives
    the same mean gradients, and a curvature with as many random roots as there are batches.

    The model is left as it is. In a distributed run, each process passes its own part of every
    data set, and all get the same statistics.

    Args:
        model: Any network, pretrained; in evaluation mode while it is measured.
        batches: Training batches of each data set.
        held_out: Batches of each target, of rows that are not trained on.
        loss: How outputs and labels make a loss: "next token" and "classes" (cross-entropies,
            without labels of -100), "binary" and "squared error" (without labels of NaN); one for
            all data sets, or by name.
        parameters: Those that fine-tuning will train, as for `Recorder`: ``"*lora*"``, a module,
            names. All that require gradients if None.
        dimensions: d; None keeps every parameter (for small models only).
        rows: Maximum number of rows per data set; None takes all.
        probes: Random roots of the curvature per row.
        per_row: Whether gradients are taken by row, or by batch.
        optimizer: Adam or AdamW, with its state after some steps: gradients are scaled by
            :math:`v^{-1/4}`, so that inner products are those with Adam's own step.
        ridge: lambda; chosen by the losses on held-out rows if None.
        same_epochs: Whether larger groups are trained for more steps, so that each data set is
            read equally often; otherwise all groups are trained for the same number of steps.
        evaluate: Function of model and batch to outputs and labels; by default for batches of
            Transformers (mappings with labels) and pairs of inputs and labels.
        gradients: A folder to keep the projected gradients of each row in, for
            `Linearization.with_rows`; (1 + probes) d numbers per row, written as they are measured.
        bits: Of each of these numbers: float32, or integers of 8 bits with a scale per vector.

    Raises:
        InputError: If a data set has no rows or labels, sequences are too long, labels do not fit
            the loss, a gradient is not finite, or a setting is out of range.

    References:
        Xia et al. (2024), `LESS <https://arxiv.org/abs/2402.04333>`_, for Adam and projection.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> inputs = torch.randn(60, 3)
        >>> def rows(sign):
        ...     return [(inputs, sign * inputs.sum(dim=1))]
        >>> linearized = linearize(
        ...     nn.Linear(3, 1),
        ...     {"sum": rows(1), "same": rows(1), "minus": rows(-1)},
        ...     {"sum": [(2 * inputs, 2 * inputs.sum(dim=1))]},
        ...     loss="squared error",
        ...     dimensions=None,
        ... )
        >>> good, bad = linearized.losses(["sum", "same"]), linearized.losses(["sum", "minus"])
        >>> good["sum"] < 0.01 < bad["sum"]
        True
    """
    check_settings(dimensions=dimensions, rows=rows, probes=probes)
    check_choice("bits", bits, (8, 32), "invalid-setting")
    sources, targets = check_names(batches), check_names(held_out)
    if not sources or not targets:
        raise InputError("Expected at least one data set and one target.", "no-tasks")
    names = dict.fromkeys((*sources, *targets))
    refuse_shards(model)
    chosen = {
        name: parameter
        for name, parameter in selected_parameters(model, parameters).items()
        if parameter.requires_grad
    }
    if not chosen:
        raise InputError(
            "Expected parameters that require gradients, but all that are selected are frozen.",
            "no-parameters",
        )
    if is_complex := [name for name, parameter in chosen.items() if parameter.is_complex()]:
        raise InputError(
            f"Expected real parameters, but {is_complex[:5]} are complex: name others with "
            "parameters=...",
            "complex-parameters",
        )
    measure = Measure(
        model=unwrapped(model),
        parameters=chosen,
        factors=None if optimizer is None else _adam_factors(optimizer, chosen),
        projection=SparseProjection(chosen, dimensions, seed),
        loss=_loss_by_name(loss, list(names)),
        evaluate=evaluate,
        rows=rows,
        probes=probes,
        per_row=per_row,
        seed=seed,
        folder=None if gradients is None else Path(gradients),
        bits=bits,
    )
    training, trained = measure(batches, "training")
    rest, judged = measure(held_out, "held_out")
    known = set[str]().union(*trained.values())
    shared_rows = {target: len(judged[target] & known) for target in targets}
    if leaks := {target: number for target, number in shared_rows.items() if number}:
        warn(
            f"Held-out rows of these targets are also trained on: {leaks} (target: rows). Their "
            "predicted losses are too low, and such sources look better than they are: take "
            "those rows out of the training batches.",
            "shared-rows",
        )
    linearization = Linearization(
        training=training,
        held_out=rest,
        ridge=1.0,
        parameters=tuple(chosen),
        n_parameters=measure.projection.n_parameters,
        shared_rows=shared_rows,
        same_epochs=same_epochs,
    )
    return linearization.with_ridge(ridge)


def _of_rows(
    statistics: DataStatistics, folder: str | Path, part: str, rows: Mapping[str, Sequence[int]]
) -> DataStatistics:
    check_known("rows of data sets", rows, statistics.names, "unknown-task")
    tables = {name: getattr(statistics, name).clone() for name in _TABLES}
    for name, wanted in rows.items():
        number = statistics.names.index(name)
        everything = read_sums(folder, part, number)
        counts = torch.stack([statistics.n_labels[number], statistics.n_rows[number]])
        loss = statistics.losses[number].item()
        curvature = counts[0] * statistics.curvatures[number]
        if (
            not everything.counts.equal(counts.double())
            or not isclose(
                everything.loss.item(), loss * counts[0].item(), rel_tol=1e-6, abs_tol=1e-12
            )  # adapters that start at 0 have the same loss: compare gradients, too
            or everything.curvature.shape != curvature.shape
            or (everything.curvature - curvature).norm() > _BITS_DIFFER * curvature.norm()
        ):
            raise InputError(
                f"Expected gradients of {name!r} with a loss of {loss:.6g} and {counts.tolist()} "
                f"labels and rows, but {str(folder)!r} holds those of another call of linearize.",
                "gradients-do-not-fit",
            )
        mean = means({name: read_sums(folder, part, number, wanted)})
        for table, values in tables.items():
            values[number] = getattr(mean, table)[0]
    return replace(statistics, **tables)


def check_settings(**settings: int | None) -> None:
    """Refuse settings below 1, by name; None is no limit."""
    for name, value in settings.items():
        check_number(name, value, "invalid-setting", least=1)


def _loss_by_name(loss: str | Mapping[str, str], names: Sequence[str]) -> dict[str, OutputLoss]:
    by_name = dict(loss) if isinstance(loss, Mapping) else dict.fromkeys(names, loss)
    unknown = sorted(set(by_name.values()) - set(OUTPUT_LOSSES))
    missing = [name for name in names if name not in by_name]
    if unknown or missing:
        what = f"got {unknown}" if unknown else f"those of {missing} are missing"
        raise InputError(
            f"Expected losses among {list(OUTPUT_LOSSES)} for every data set, but {what}.",
            "unknown-loss",
        )
    return cast("dict[str, OutputLoss]", by_name)


def _adam_factors(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    r"""The factor :math:`(\sqrt{\hat v} + \epsilon)^{-1/2}` of each parameter's gradient."""
    factors: dict[str, Tensor] = {}
    group_of = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    for name, parameter in parameters.items():
        state = optimizer.state.get(parameter, {})
        if "exp_avg_sq" not in state:
            raise InputError(
                f"Expected an Adam optimizer with a state of {name!r}, but "
                f"{type(optimizer).__name__} has none: take some steps with it first.",
                "no-optimizer-state",
            )
        group = group_of[id(parameter)]
        mean_square = state["exp_avg_sq"] / (1 - group["betas"][1] ** float(state["step"]))
        factors[name] = (mean_square.sqrt() + group["eps"]).rsqrt()
    return factors
