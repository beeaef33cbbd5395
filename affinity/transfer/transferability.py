"""Transferability: estimates of transfer without training, compared with measured gains."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from affinity.errors import check_same
from affinity.estimates import RepresentationSimilarity
from affinity.problems import Problem
from affinity.statistics import spearman
from affinity.tasks import BinaryCrossEntropy, CensoredDeviance, CrossEntropy, VectorError

from .sources import Sources, TrunkState
from .transfer import Transfer
from .tune import load_network


@dataclass(frozen=True, eq=False)
class SourceFeatures:
    """The labelled rows of a target as a source represents them: the input of every score.

    Args:
        features: Output of the source's trunk.
        labels: Labels of the target; classes are numbered from 0.
        n_classes: Number of classes of the target; None for a regression.
        probabilities: Predicted probabilities of the source's own classes; None if it has none.
    """

    features: Float[Tensor, "row feature"]
    labels: Float[Tensor, " row"]
    n_classes: int | None
    probabilities: Float[Tensor, "row class"] | None = None


@dataclass(frozen=True)
class LogME:
    r"""Logarithm of the maximum evidence of a Bayesian linear regression, per row.

    .. math::
        \frac{1}{n} \max_{\alpha, \beta} \log \int p(y \mid F w, \beta^{-1}) \,
        p(w \mid 0, \alpha^{-1}) \, dw

    Larger is better; it has no unit, and only compares sources of one target. Classes are regressed
    one by one, as 0 or 1, and averaged. Unlike the loss of a fitted head, it does not reward a
    large number of features.

    Args:
        steps: Maximum number of fixed-point iterations.

    References:
        You et al. (2021), `LogME: Practical Assessment of Pre-trained Models for Transfer Learning
        <https://arxiv.org/abs/2102.11005>`_, equation 2 and algorithm 1.

    Example:
        >>> features = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [2.0, 1.0]])
        >>> linear = SourceFeatures(features, features @ torch.tensor([1.0, -2.0]), None)
        >>> random = SourceFeatures(features, torch.tensor([1.0, 1.0, -1.0, 1.0]), None)
        >>> LogME()(linear) > LogME()(random)
        True
    """

    steps: int = 100

    def __call__(self, source: SourceFeatures) -> float:
        """The score of a source for a target; NaN without rows."""
        if not len(source.labels):
            return math.nan
        targets = source.labels.double()[:, None]
        if source.n_classes is not None:
            targets = functional.one_hot(source.labels.long(), source.n_classes).double()
        left, singular, _ = torch.linalg.svd(source.features.double(), full_matrices=False)
        n_features = source.features.shape[1]
        evidences = [
            self._evidence(left.T @ target, singular.square(), target, n_features)
            for target in targets.T
        ]
        return sum(evidences) / len(evidences)

    def _evidence(
        self,
        projected: Float[Tensor, " direction"],
        squares: Float[Tensor, " direction"],
        target: Float[Tensor, " row"],
        n_features: int,
    ) -> float:
        """From the squared singular values, and the target along the left singular vectors."""
        n_rows = len(target)
        outside = max(float(target.square().sum() - projected.square().sum()), 0.0)

        def moments(alpha: float, beta: float) -> tuple[float, float, float]:
            """Squared weights, squared error, and the effective number of parameters."""
            shrunk = alpha / beta + squares
            weights = float((squares * projected.square() / shrunk.square()).sum())
            error = outside + float(((alpha / beta / shrunk) * projected).square().sum())
            return weights, error, float((squares / shrunk).sum())

        alpha, beta = 1.0, 1.0
        for _ in range(self.steps):
            weights, error, effective = moments(alpha, beta)
            ratio = alpha / beta
            alpha = effective / max(weights, 1e-12)
            beta = (n_rows - effective) / max(error, 1e-12)
            if abs(alpha / beta - ratio) <= 1e-9 * ratio:
                break
        weights, error, _ = moments(alpha, beta)
        determinant = float((alpha + beta * squares).log().sum())
        determinant += (n_features - len(squares)) * math.log(alpha)
        evidence = (
            n_features * math.log(alpha)
            + n_rows * math.log(beta)
            - n_rows * math.log(2 * math.pi)
            - beta * error
            - alpha * weights
            - determinant
        )
        return evidence / 2 / n_rows


@dataclass(frozen=True)
class LEEP:
    r"""Mean log-likelihood of the labels under the expected empirical predictor.

    .. math::
        \frac{1}{n} \sum_i \log \sum_z \hat P(y_i \mid z) \, \theta(x_i)_z, \qquad
        \hat P(y \mid z) \propto \sum_{i : y_i = y} \theta(x_i)_z

    At most 0. It is 0 if every class of the source belongs to one class of the target, and minus
    the entropy of the target's classes if the source is uninformative. NaN for regressions, and for
    sources without classes.

    References:
        Nguyen et al. (2020), `LEEP: A New Measure to Evaluate Transferability of Learned
        Representations <https://arxiv.org/abs/2002.12462>`_, equations 1 and 2.

    Example:
        >>> labels, features = torch.tensor([0.0, 1.0]), torch.zeros(2, 1)
        >>> uninformative = torch.full((2, 3), 1 / 3)
        >>> round(LEEP()(SourceFeatures(features, labels, 2, uninformative)), 4)  # - log 2
        -0.6931
    """

    def __call__(self, source: SourceFeatures) -> float:
        """The score of a source for a target."""
        if source.n_classes is None or source.probabilities is None or not len(source.labels):
            return math.nan
        labels, probabilities = source.labels.long(), source.probabilities.double()
        is_class = functional.one_hot(labels, source.n_classes).double()
        joint = is_class.T @ probabilities / len(labels)  # class source_class
        conditional = joint / joint.sum(dim=0).clamp(min=1e-300)
        likelihood = (conditional[labels] * probabilities).sum(dim=1)
        return float(torch.log(likelihood).mean())


@dataclass(frozen=True)
class HScore:
    r"""Variance of the features between the target's classes, relative to their total variance.

    .. math::
        \mathrm{tr}\big(\mathrm{cov}(F)^{+} \, \mathrm{cov}(\mathrm{E}[F \mid y])\big)

    0: all classes have the same mean; the number of classes minus 1: they are perfectly separated.
    Constant features are ignored. With as many features as rows it approaches its maximum for any
    labels. NaN for regressions.

    References:
        Bao et al. (2019), `An Information-Theoretic Approach to Transferability in Task Transfer
        Learning <https://arxiv.org/abs/2212.10082>`_, definition 2.

    Example:
        >>> features = torch.tensor([[-1.0], [-1.0], [1.0], [1.0]])
        >>> round(HScore()(SourceFeatures(features, torch.tensor([0.0, 0.0, 1.0, 1.0]), 2)), 6)
        1.0
    """

    def __call__(self, source: SourceFeatures) -> float:
        """The score of a source for a target."""
        if source.n_classes is None or len(source.labels) < 2:
            return math.nan
        centred = source.features.double() - source.features.double().mean(dim=0)
        between = torch.zeros_like(centred)
        for label in source.labels.unique():
            is_class = source.labels == label
            between[is_class] = centred[is_class].mean(dim=0)
        inverse = torch.linalg.pinv(centred.T @ centred, rtol=1e-9, hermitian=True)
        return float((inverse * (between.T @ between)).sum())


SCORES: Mapping[str, Callable[[SourceFeatures], float]] = {
    "LogME": LogME(),
    "LEEP": LEEP(),
    "H-score": HScore(),
}


def transferability_scores(
    problem: Problem,
    sources: Sources,
    score: Callable[[SourceFeatures], float],
    targets: Sequence[str] | None = None,
) -> Float[Tensor, "source target"]:
    """Mean score of each source for each target over replicates, on the target's training rows.

    One forward pass through each source's trunk; nothing is trained. NaN where the score is
    undefined, and where the source was trained on the target.

    Args:
        sources: From `learn_sources`.
        score: One of `SCORES`.
    """

    def score_of(source: str, target: str, replicate: int) -> float:
        return score(_source_features(problem, sources, source, target, replicate))

    return _for_each_pair(problem, sources, targets, score_of)


def representation_similarity(
    problem: Problem, sources: Sources, targets: Sequence[str] | None = None
) -> Float[Tensor, "source target"]:
    """Linear CKA between each source's representation and that of the target's own network.

    On the target's validation rows, averaged over replicates. NaN where the target was not trained
    as a source itself.
    """
    similarity = RepresentationSimilarity()

    def similarity_of(source: str, target: str, replicate: int) -> float:
        if target not in sources.states:
            return math.nan
        rows = sources.replicates[replicate].validation
        inputs = rows.inputs[rows.labelled[:, problem.names.index(target)]]
        of_source = _represent(problem, sources.trunks[source][target][replicate], inputs)
        of_target = _represent(problem, sources.states[target][replicate], inputs)
        matrix = similarity({"source": of_source, "target": of_target})
        return matrix.between("source", "target")

    return _for_each_pair(problem, sources, targets, similarity_of)


@dataclass(frozen=True)
class RankCorrelation:
    """How well a score ranks the sources of a target, compared with measured gains.

    Args:
        spearman: Rank correlation over the sources of a target, averaged over targets; scores of
            different targets are not compared.
        ceiling: Noise ceiling: the square root of the reliability of the measured gains, from
            halves of the replicates (Spearman-Brown); NaN if the halves disagree.
        n_targets: Number of targets with a score for at least three sources.
    """

    score: str
    spearman: float
    ceiling: float
    n_targets: int


def rank_correlation(
    transfer: Transfer, values: Float[Tensor, "source target"], name: str = ""
) -> RankCorrelation:
    """Compare scores with measured gains.

    Args:
        transfer: Measured gains.
        values: From `transferability_scores` or `representation_similarity`.

    Raises:
        InputError: If the scores are for other pairs.
    """
    expected = tuple(transfer.is_measured.shape)
    check_same("the shape of the scores", tuple(values.shape), expected, "different-shapes")
    measured = transfer.values()
    is_known = measured.isfinite() & values.isfinite()
    correlations = _spearman_by_target(measured, values, is_known)
    return RankCorrelation(
        score=name,
        spearman=float(np.mean(correlations)) if correlations else math.nan,
        ceiling=_ceiling(transfer, is_known),
        n_targets=len(correlations),
    )


def _ceiling(transfer: Transfer, is_known: Tensor) -> float:
    """From the gains of even and of odd replicates."""
    if transfer.n_replicates < 2:
        return math.nan
    halves: list[Tensor] = []
    for first in (0, 1):
        tuned, scratch = (
            losses.test[:, first::2].mean(dim=1) for losses in (transfer.tuned, transfer.scratch)
        )
        halves.append((scratch - tuned) / scratch)  # source target
    correlations = _spearman_by_target(halves[0], halves[1], is_known)
    half = float(np.mean(correlations)) if correlations else math.nan
    return math.sqrt(2 * half / (1 + half)) if half > 0 else math.nan


def _spearman_by_target(one: Tensor, other: Tensor, is_known: Tensor) -> list[float]:
    """The rank correlation over sources of each target that has one."""
    correlations: list[float] = []
    for column in range(one.shape[1]):
        first, second = (part[is_known[:, column], column] for part in (one, other))
        correlations.append(spearman(first.numpy(), second.numpy()))
    return [value for value in correlations if math.isfinite(value)]


def _for_each_pair(
    problem: Problem,
    sources: Sources,
    targets: Sequence[str] | None,
    value_of: Callable[[str, str, int], float],
) -> Float[Tensor, "source target"]:
    """The mean over replicates; NaN where a source was not transferred to a target."""
    targets = list(problem.names if targets is None else targets)
    shape = (len(sources.names), len(targets), len(sources.replicates))
    values = torch.full(shape, math.nan, dtype=torch.double)
    for row, source in enumerate(sources.names):
        for column, target in enumerate(targets):
            for replicate in range(len(sources.trunks[source].get(target, ()))):
                values[row, column, replicate] = value_of(source, target, replicate)
    return values.mean(dim=2)


def _source_features(
    problem: Problem, sources: Sources, source: str, target: str, replicate: int
) -> SourceFeatures:
    column = problem.names.index(target)
    rows = sources.replicates[replicate].training
    is_labelled = rows.labelled[:, column]
    if isinstance(problem.tasks[column].loss, CensoredDeviance | VectorError):
        is_labelled = torch.zeros_like(is_labelled)  # the scores are of classes and numbers
    inputs = rows.inputs[is_labelled]
    probabilities = None
    if source in sources.states and (n_classes := _n_classes(problem, source)) is not None:
        network = load_network(problem, sources.states[source][replicate], source)
        with torch.no_grad():
            logits = network(inputs)[source].double()
        if n_classes == 2 and logits.shape[1] == 1:
            logits = torch.cat([torch.zeros_like(logits), logits], dim=1)
        probabilities = logits.softmax(dim=1)
    return SourceFeatures(
        features=_represent(problem, sources.trunks[source][target][replicate], inputs),
        labels=rows.targets[is_labelled, column],
        n_classes=_n_classes(problem, target),
        probabilities=probabilities,
    )


def _n_classes(problem: Problem, name: str) -> int | None:
    task = problem.tasks[problem.names.index(name)]
    if isinstance(task.loss, BinaryCrossEntropy):
        return 2
    return task.n_outputs if isinstance(task.loss, CrossEntropy) else None


def _represent(problem: Problem, state: TrunkState, inputs: Tensor) -> Float[Tensor, "row width"]:
    trunk = {name: value for name, value in state.items() if name.startswith("trunk.")}
    with torch.no_grad():
        return load_network(problem, trunk).represent(inputs).flatten(1)
