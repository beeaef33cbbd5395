"""Promise: free estimates of transfer, and how well they foretell what was measured."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy import stats
from torch import Tensor

from affinity.errors import InputError
from affinity.estimates import RepresentationSimilarity
from affinity.problems import Problem
from affinity.tasks import BinaryCrossEntropy, CrossEntropy

from .network_of import network_of
from .scores import View
from .sources import Sources, Trunk
from .transfer import Transfer


def promise(
    problem: Problem,
    sources: Sources,
    score: Callable[[View], float],
    targets: Sequence[str] | None = None,
) -> Float[Tensor, "source target"]:
    """The mean score of each source for each target over replicates, on the target's training rows.

    One pass of the rows through each source's trunk; nothing is trained. NaN where the score is
    undefined, and where the source was trained on the target.

    Args:
        problem: Tasks, trunk and heads.
        sources: From `learn_sources`.
        score: One of `SCORES`.
        targets: The tasks; all if None.
    """
    targets = list(problem.names if targets is None else targets)
    found = torch.full(
        (len(sources.names), len(targets), len(sources.replicates)), math.nan, dtype=torch.double
    )
    for row, source in enumerate(sources.names):
        for column, target in enumerate(targets):
            trunks = sources.trunks[source].get(target, ())
            for at, trunk in enumerate(trunks):
                view = _view(problem, sources, source, trunk, target, at)
                found[row, column, at] = score(view)
    return found.mean(dim=2)


def representation_similarity(
    problem: Problem, sources: Sources, targets: Sequence[str] | None = None
) -> Float[Tensor, "source target"]:
    """Linear CKA of each source's representation with that of the target's own network.

    On the target's validation rows, averaged over replicates. NaN where the target was not trained
    as a source itself.
    """
    targets = list(problem.names if targets is None else targets)
    found = torch.full(
        (len(sources.names), len(targets), len(sources.replicates)), math.nan, dtype=torch.double
    )
    similarity = RepresentationSimilarity()
    for column, target in enumerate(targets):
        for at, replicate in enumerate(sources.replicates):
            if target not in sources.states:
                continue
            rows = replicate.validation
            inputs = rows.inputs[rows.labelled[:, problem.names.index(target)]]
            own = _represent(problem, sources.states[target][at], inputs)
            for row, source in enumerate(sources.names):
                if target in sources.trunks[source]:
                    trunk = sources.trunks[source][target][at]
                    other = _represent(problem, trunk, inputs)
                    matrix = similarity({"source": other, "target": own})
                    found[row, column, at] = matrix.between("source", "target")
    return found.mean(dim=2)


@dataclass(frozen=True)
class Foretold:
    """How well an estimate orders the sources of a target as measured gains do.

    Args:
        spearman: Mean over targets of the rank correlation over its sources; scores of different
            targets are not compared.
        ceiling: What a perfect estimate could reach: the root of the reliability of the measured
            gains, from halves of the replicates (Spearman-Brown); NaN where halves disagree.
        n_targets: Targets with at least three sources that have a score.
    """

    spearman: float
    ceiling: float
    n_targets: int


def foretold(transfer: Transfer, estimate: Float[Tensor, "source target"]) -> Foretold:
    """Compare an estimate with the measured gains.

    Raises:
        InputError: If it is of other pairs.
    """
    if estimate.shape != transfer.is_measured.shape:
        raise InputError(
            f"Expected an estimate of {tuple(transfer.is_measured.shape)} sources and targets, but "
            f"got {tuple(estimate.shape)}."
        )
    measured = transfer.values()
    known = measured.isfinite() & estimate.isfinite()
    own = [
        _spearman(measured[known[:, column], column], estimate[known[:, column], column])
        for column in range(measured.shape[1])
    ]
    own = [each for each in own if math.isfinite(each)]
    return Foretold(
        spearman=float(np.mean(own)) if own else math.nan,
        ceiling=_ceiling(transfer, known),
        n_targets=len(own),
    )


def _ceiling(transfer: Transfer, known: Tensor) -> float:
    """From every other replicate, and from those between."""
    if transfer.n_replicates < 2:
        return math.nan
    halves: list[Tensor] = []
    for parity in (0, 1):
        tuned, scratch = (
            each.test[:, parity::2].mean(dim=1) for each in (transfer.tuned, transfer.scratch)
        )
        halves.append((scratch - tuned) / scratch)  # source target
    own = [
        _spearman(halves[0][known[:, column], column], halves[1][known[:, column], column])
        for column in range(known.shape[1])
    ]
    own = [each for each in own if math.isfinite(each)]
    half = float(np.mean(own)) if own else math.nan
    return math.sqrt(2 * half / (1 + half)) if half > 0 else math.nan


def _spearman(one: Tensor, other: Tensor) -> float:
    if (
        len(one) < 3
        or float(one.max()) == float(one.min())
        or float(other.max()) == float(other.min())
    ):
        return math.nan
    return float(stats.spearmanr(one.numpy(), other.numpy()).statistic)  # pyright: ignore[reportAttributeAccessIssue]


def _view(
    problem: Problem, sources: Sources, source: str, trunk: Trunk, target: str, at: int
) -> View:
    column = problem.names.index(target)
    replicate = sources.replicates[at]
    chosen = replicate.training.labelled[:, column]
    inputs = replicate.training.inputs[chosen]
    probabilities = None
    if source in sources.states and (n_classes := _n_classes(problem, source)) is not None:
        network = network_of(problem, sources.states[source][at], source)
        with torch.no_grad():
            logits = network(inputs)[source].double()
        if n_classes == 2 and logits.shape[1] == 1:
            logits = torch.cat([torch.zeros_like(logits), logits], dim=1)
        probabilities = logits.softmax(dim=1)
    return View(
        features=_represent(problem, trunk, inputs),
        labels=replicate.training.targets[chosen, column],
        n_classes=_n_classes(problem, target),
        probabilities=probabilities,
    )


def _n_classes(problem: Problem, name: str) -> int | None:
    task = problem.tasks[problem.names.index(name)]
    if isinstance(task.loss, BinaryCrossEntropy):
        return 2
    return task.n_outputs if isinstance(task.loss, CrossEntropy) else None


def _represent(problem: Problem, state: Trunk, inputs: Tensor) -> Float[Tensor, "row width"]:
    trunk = {name: value for name, value in state.items() if name.startswith("trunk.")}
    with torch.no_grad():
        return network_of(problem, trunk).represent(inputs).flatten(1)
