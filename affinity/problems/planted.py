"""Planted clusters: tasks whose true grouping is chosen by us, at a chosen strength."""

import torch
from jaxtyping import Float
from torch import Tensor

from affinity.errors import check_number
from affinity.tasks import Examples, RSquared, SquaredError, Task
from affinity.training import TrainingSettings

from .problem import DataSource, Problem, TableParts, columns_of

LETTERS = "abcdefghijklmnopqrstuvwxyz"
DIRECTIONS = 2
NOISE = 0.5


def planted(
    strength: float = 1.0,
    n_clusters: int = 3,
    tasks_per_cluster: int = 3,
    n_rows: int = 400,
    n_features: int = 20,
    test_share: float = 0.8,
    width: int = 8,
    depth: int = 1,
    seed: int = 0,
    draw: int = 0,
) -> Problem:
    r"""Tasks a1, a2, ..., b1, ... in clusters that were chosen: one letter, the same directions.

    .. math::
        y_k = \sum_{r=1}^{2} w_{kr} \, \big|x^T v_{kr}\big| + \epsilon, \qquad
        v_{kr} \propto \sqrt{s} \, u_{c(k) r} + \sqrt{1 - s} \, z_{kr}

    with the directions u of the task's cluster and z of its own, readouts w of either sign and a
    size between 0.6 and 1, so that every task needs both directions,
    :math:`x \sim N(0, I)`, and noise of half the signal's deviation. The absolute value hides
    the directions from any line. Rows are few and the trunk is narrow: tasks of a cluster learn
    their directions together, tasks of several do not fit into one trunk. At strength 1 one network
    per cluster gains about a third of the separate networks' loss and mixed ones lose as much; from
    about 0.8 down sharing no longer pays, and at 0 no two tasks have anything in common
    (`reports/planted` has the measured gains).

    Args:
        strength: s, how much of their directions the tasks of a cluster share, from 0 to 1.
        n_rows: Development rows.
        n_features: Numbers an input has.
        test_share: Test rows as a share of all rows.
        seed: Decides directions, readouts and rows.
        draw: Decides which of the rows are set aside for the audit.

    Raises:
        InputError: If a setting is out of range.

    Example:
        >>> planted(n_clusters=2, tasks_per_cluster=2).names
        ('a1', 'a2', 'b1', 'b2')
    """
    check_number("strength", strength, least=0, most=1)
    check_number("n_clusters", n_clusters, least=1, most=len(LETTERS))
    check_number("tasks_per_cluster", tasks_per_cluster, least=1)
    check_number("test_share", test_share, "invalid-share", above=0, below=1)
    generator = torch.Generator().manual_seed(seed)
    n_tests = round(n_rows * test_share / (1 - test_share))
    inputs = torch.randn(n_rows + n_tests, n_features, generator=generator)
    targets: dict[str, Tensor] = {}
    for letter in LETTERS[:n_clusters]:
        common = _directions(n_features, generator)
        for number in range(1, tasks_per_cluster + 1):
            own_directions = _directions(n_features, generator)
            along = strength**0.5 * common + (1 - strength) ** 0.5 * own_directions
            sign = torch.randint(0, 2, (DIRECTIONS,), generator=generator) * 2 - 1
            readout = sign * (0.6 + 0.4 * torch.rand(DIRECTIONS, generator=generator))
            signal = (inputs @ (along / along.norm(dim=0))).abs() @ readout
            noise = torch.randn(len(inputs), generator=generator)
            scaled = (signal - signal.mean()) / signal.std()
            targets[f"{letter}{number}"] = scaled + NOISE * noise
    examples = Examples(inputs, columns_of(list(targets.values())))
    order = torch.arange(len(examples))
    if draw > 0:
        order = torch.randperm(len(examples), generator=torch.Generator().manual_seed(draw))
    development, test = order.tensor_split([n_rows])

    parts = TableParts(n_features, depth)
    trunk, head = parts(width)
    return Problem(
        name=f"planted, strength {strength:g}",
        tasks=tuple(Task(name, SquaredError(), RSquared()) for name in targets),
        development=examples.take(development),
        test=examples.take(test),
        trunk=trunk,
        head=head,
        settings=TrainingSettings(epochs=150, batch_size=32, learning_rate=0.01, patience=15),
        width=width,
        parts=parts,
        source=DataSource(f"planted clusters, strength {strength:g}, seed {seed}"),
    )


def _directions(n_features: int, generator: torch.Generator) -> Float[Tensor, "feature direction"]:
    return torch.linalg.qr(torch.randn(n_features, DIRECTIONS, generator=generator))[0]
