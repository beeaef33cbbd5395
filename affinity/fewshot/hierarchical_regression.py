"""Hierarchical Bayesian linear regression: the value of the shared parameter in closed form."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from affinity.errors import check_number
from affinity.tasks import Examples

from .family import GeneratedRegressions

Moments = tuple[Float[Tensor, " feature"], Float[Tensor, "feature feature"]]  # mean and covariance


@dataclass(frozen=True)
class HierarchicalRegression(GeneratedRegressions):
    r"""Linear regressions with parameters around a common θ: every posterior is known exactly.

    .. math::
        \theta \sim N(0, s^2 I), \quad \phi_i \mid \theta \sim N(\theta, \tau^2 I), \quad
        y = x^T \phi_i + \epsilon, \quad \epsilon \sim N(0, \sigma^2), \quad x \sim N(0, I)

    Other tasks are informative about θ, and θ about a new task: if θ is known, the entropy of
    :math:`\phi_i` decreases from :math:`\frac{d}{2} \log 2 \pi e (s^2 + \tau^2)` to
    :math:`\frac{d}{2} \log 2 \pi e \tau^2` nats. The decrease vanishes if τ is much larger than s,
    and is infinite if all tasks are equal. θ itself is drawn once, from `seed`.

    Args:
        n_features: d, the number of inputs.
        shared: s, the standard deviation of θ around zero.
        own: τ, the standard deviation of a task's parameters around θ.
        noise: σ.

    Raises:
        InputError: If a setting is not above 0.

    Example:
        >>> model = HierarchicalRegression(n_features=2, shared=3.0, own=1.0)
        >>> known, unknown = model.prior(is_known=True), model.prior(is_known=False)
        >>> round(entropy(unknown) - entropy(known), 4)  # log 10: both numbers, half of log 10 each
        2.3026
    """

    n_features: int = 10
    shared: float = 2.0
    own: float = 0.5
    noise: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("n_features", "shared", "own", "noise"):
            check_number(name, getattr(self, name), "not-positive", above=0, below=math.inf)

    @property
    def theta(self) -> Float[Tensor, " feature"]:
        """The mean of the tasks' parameters."""
        generator = torch.Generator().manual_seed(self.seed)
        return self.shared * torch.randn(self.n_features, generator=generator).double()

    def prior(self, is_known: bool) -> Moments:
        """Prior of a new task's parameters, with θ known or unknown."""
        eye = torch.eye(self.n_features).double()
        if is_known:
            return self.theta, self.own**2 * eye
        return torch.zeros(self.n_features).double(), (self.shared**2 + self.own**2) * eye

    def shared_posterior(self, tasks: Sequence[Examples]) -> Moments:
        r"""Posterior of θ given the rows of these tasks, with their parameters integrated out.

        .. math::
            \Lambda = s^{-2} I + \sum_i X_i^T C_i^{-1} X_i, \qquad
            C_i = \tau^2 X_i X_i^T + \sigma^2 I
        """
        precision = torch.eye(self.n_features).double() / self.shared**2
        weighted = torch.zeros(self.n_features).double()
        for rows in tasks:
            inputs, targets = rows.inputs.double(), rows.targets[:, 0].double()
            spread = self.own**2 * inputs @ inputs.T
            spread += self.noise**2 * torch.eye(len(inputs)).double()
            solved = torch.linalg.solve(spread, inputs)  # row feature
            precision += inputs.T @ solved
            weighted += solved.T @ targets
        covariance = torch.linalg.inv(precision)
        return covariance @ weighted, covariance

    def prior_given(self, tasks: Sequence[Examples]) -> Moments:
        """Prior of a new task's parameters, given the rows of other tasks."""
        mean, covariance = self.shared_posterior(tasks)
        return mean, covariance + self.own**2 * torch.eye(self.n_features).double()

    def posterior(self, prior: Moments, rows: Examples) -> Moments:
        """Posterior of a task's parameters, given its rows and a prior."""
        mean, covariance = prior
        inputs, targets = rows.inputs.double(), rows.targets[:, 0].double()
        before = torch.linalg.inv(covariance)
        after = torch.linalg.inv(before + inputs.T @ inputs / self.noise**2)
        return after @ (before @ mean + inputs.T @ targets / self.noise**2), after

    def expected_loss(self, posterior: Moments) -> float:
        """Expected squared error of the posterior mean on new rows: its variance plus noise."""
        return float(posterior[1].trace()) + self.noise**2

    def sample(
        self, rows: Examples, others: Sequence[Examples], draws: int, generator: torch.Generator
    ) -> Float[Tensor, "draw feature"]:
        """Gibbs samples of a task's parameters given its rows and those of other tasks.

        θ and the parameters of all tasks are drawn in turn, each given the others, without the
        closed form. The first tenth is discarded.
        """
        eye = torch.eye(self.n_features).double()
        tasks = [rows, *others]
        factors: list[tuple[Tensor, Tensor, Tensor]] = []  # of each task given θ
        for examples in tasks:
            inputs, targets = examples.inputs.double(), examples.targets[:, 0].double()
            covariance = torch.linalg.inv(eye / self.own**2 + inputs.T @ inputs / self.noise**2)
            root = torch.linalg.cholesky(covariance)
            factors.append((covariance, root, inputs.T @ targets / self.noise**2))
        precision = 1 / self.shared**2 + len(tasks) / self.own**2
        theta, samples = torch.zeros(self.n_features).double(), list[Tensor]()
        burn_in = draws // 10
        for _ in range(burn_in + draws):
            parameters: list[Tensor] = []
            for covariance, root, weighted in factors:
                normal = torch.randn(self.n_features, generator=generator).double()
                parameters.append(covariance @ (theta / self.own**2 + weighted) + root @ normal)
            mean = torch.stack(parameters).sum(dim=0) / self.own**2 / precision
            normal = torch.randn(self.n_features, generator=generator).double()
            theta = mean + normal / precision**0.5
            samples.append(parameters[0])
        return torch.stack(samples[burn_in:])

    def generate(
        self, count: int, rows: int, generator: torch.Generator
    ) -> tuple[Float[Tensor, "task row feature"], Float[Tensor, "task row"]]:
        """Tasks around θ, and rows of each."""
        phi = torch.randn(count, self.n_features, generator=generator)
        phi = self.theta.float() + self.own * phi
        inputs = torch.randn(count, rows, self.n_features, generator=generator)
        noise = self.noise * torch.randn(count, rows, generator=generator)
        return inputs, (inputs @ phi.unsqueeze(2)).squeeze(2) + noise


def entropy(gaussian: Moments) -> float:
    r"""Entropy in nats: :math:`\frac{1}{2} \log \det 2 \pi e \Sigma`.

    Example:
        >>> unit = torch.zeros(2).double(), torch.eye(2).double() / (2 * math.pi * math.e)
        >>> abs(round(entropy(unit), 12))
        0.0
    """
    return float(torch.logdet(2 * math.pi * math.e * gaussian[1])) / 2
