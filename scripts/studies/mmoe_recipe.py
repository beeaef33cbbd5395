"""The synthetic recipe of MMoE: two regressions whose relatedness is a setting."""

import math
from dataclasses import dataclass

import torch
from torch import nn

from affinity.errors import InputError
from affinity.problems.problem import DataSource, Parts, Problem
from affinity.sharing import Perceptron
from affinity.tasks import Examples, RSquared, SquaredError, Task
from affinity.training import TrainingSettings


@dataclass(frozen=True)
class RecipeSuite:
    r"""The constants that the paper leaves open, fixed under a name.

    Args:
        name: What a report calls them.
        scale: c, the length of the weight vectors.
        frequencies: :math:`\alpha_i`, one per sine.
        phases: :math:`\beta_i`, one per sine.
    """

    name: str
    scale: float
    frequencies: tuple[float, ...]
    phases: tuple[float, ...]


GENTLE = RecipeSuite("gentle-1", 1.0, (1.54, -0.29, -2.18, 0.57), (-1.08, -1.40, 0.40, 0.84))
"""Four sines whose frequencies were drawn from N(0, 1): a smooth target."""

ROUGH = RecipeSuite(
    "rough-1", 1.0, (-2.16, -1.21, -1.79, 0.55, -2.57), (3.30, -3.21, 0.37, -1.70, 1.12)
)
"""Five sines whose frequencies were drawn from N(0, 9): a target that is hard to fit."""

SUITES = {suite.name: suite for suite in (GENTLE, ROUGH)}


def mmoe_recipe(
    correlation: float = 0.5,
    suite: RecipeSuite = GENTLE,
    n_rows: int = 10_000,
    n_features: int = 100,
    width: int = 113,
    tower: int = 8,
    seed: int = 0,
) -> Problem:
    r"""Two tasks, `first` and `second`, of a chosen relatedness.

    .. math::
        w_1 = c\,u_1, \quad w_2 = c\,(p\,u_1 + \sqrt{1 - p^2}\,u_2), \qquad
        y_k = w_k^T x + \sum_i \sin(\alpha_i w_k^T x + \beta_i) + \epsilon

    with orthogonal unit vectors :math:`u_1, u_2`, :math:`x \sim N(0, I)` and
    :math:`\epsilon \sim N(0, 0.01)`. The paper does not give c, the number of sines, their
    :math:`\alpha_i` and :math:`\beta_i`, nor the number of rows; a `RecipeSuite` fixes the first
    four. p is the cosine of the weights, not the correlation of the labels: `label_pearson`
    measures that. Below p = 0 the labels are no mirror image, because the sines are not odd.

    Args:
        correlation: p, the cosine between the tasks' weights.
        suite: The constants.
        n_rows: Rows; a fifth is for testing.
        n_features: Numbers an input has.
        width: Width of the one-layer trunk; 113 has as many parameters as the paper's 8 experts.
        tower: Width of the one hidden layer of a head.
        seed: Decides weights and rows.

    Raises:
        InputError: If the correlation is not in [-1, 1].

    References:
        Ma et al. (2018), `Modeling Task Relationships in Multi-task Learning with Multi-gate
        Mixture-of-Experts <https://doi.org/10.1145/3219819.3220007>`_, section 3.2.

    Example:
        >>> problem = mmoe_recipe(correlation=1.0, n_rows=2000)
        >>> round(label_pearson(problem), 1)  # only the noise differs
        1.0
    """
    if not -1 <= correlation <= 1:
        raise InputError(
            f"Expected a correlation in [-1, 1], but got {correlation}.", "out-of-range"
        )
    if n_features < 2:
        raise InputError(
            f"Expected at least 2 features, but got n_features={n_features}.", "out-of-range"
        )
    generator = torch.Generator().manual_seed(seed)
    directions, _ = torch.linalg.qr(torch.randn(n_features, 2, generator=generator))
    first, second = directions.T
    weights = suite.scale * torch.stack(
        [first, correlation * first + math.sqrt(1 - correlation**2) * second]
    )
    inputs = torch.randn(n_rows, n_features, generator=generator)
    linear = inputs @ weights.T  # row task
    sines = torch.stack(
        [
            torch.sin(alpha * linear + beta)
            for alpha, beta in zip(suite.frequencies, suite.phases, strict=True)
        ]
    ).sum(dim=0)
    targets = linear + sines + 0.1 * torch.randn(n_rows, 2, generator=generator)
    examples = Examples(inputs, targets)
    rest, test = torch.arange(n_rows).tensor_split([n_rows * 4 // 5])

    def parts(width: int) -> Parts:
        return (
            lambda: Perceptron(n_features, width=width, depth=1),
            lambda task: nn.Sequential(
                nn.Linear(width, tower), nn.ReLU(), nn.Linear(tower, task.n_outputs)
            ),
        )

    trunk, head = parts(width)
    return Problem(
        name=f"mmoe {suite.name}, p = {correlation:g}",
        tasks=tuple(Task(name, SquaredError(), RSquared()) for name in ("first", "second")),
        development=examples.take(rest),
        test=examples.take(test),
        trunk=trunk,
        head=head,
        settings=TrainingSettings(epochs=60, batch_size=256, patience=8),
        width=width,
        parts=parts,
        source=DataSource(f"MMoE, section 3.2: {suite.name}, seed {seed}"),
    )


def label_pearson(problem: Problem) -> float:
    """Correlation between the two tasks' labels, over all rows."""
    targets = torch.cat([problem.development.targets, problem.test.targets])
    return float(torch.corrcoef(targets.T)[0, 1])
