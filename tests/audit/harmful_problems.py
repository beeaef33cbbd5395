"""Problems in which sharing harms for a reason that we chose."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from affinity import Examples, Problem, Task, TrainingSettings
from affinity.problems.problem import Parts, linear_heads
from affinity.sharing import Perceptron
from affinity.tasks import RSquared, SquaredError

SETTINGS = TrainingSettings(epochs=40, batch_size=64, learning_rate=0.01, patience=6)


def problem_of(
    inputs: Tensor, targets: Tensor, width: int, settings: TrainingSettings = SETTINGS, parts=None
) -> Problem:
    """A regression a column of the targets; a quarter of the rows are for testing."""
    rows, cut = Examples(inputs, targets), len(inputs) * 3 // 4
    n_features = inputs.shape[1]

    def perceptrons(width: int) -> Parts:
        return lambda: Perceptron(n_features, width=width, depth=2), linear_heads(width)

    parts = parts or perceptrons
    trunk, head = parts(width)
    return Problem(
        name="planted",
        tasks=tuple(Task(f"t{at}", SquaredError(), RSquared()) for at in range(targets.shape[1])),
        development=rows.take(torch.arange(cut)),
        test=rows.take(torch.arange(cut, len(inputs))),
        trunk=trunk,
        head=head,
        settings=settings,
        width=width,
        parts=parts,
    )


def noise(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def narrow(n_rows: int = 600) -> Problem:
    """Six unrelated tasks, each of which takes one hidden unit; the trunk has three."""
    inputs = noise(n_rows, 6, seed=0)
    return problem_of(inputs, inputs.sigmoid() + 0.1 * noise(n_rows, 6, seed=1), width=3)


def one_loud(n_rows: int = 600) -> Problem:
    """Unrelated tasks, the first with a loss a thousand times as large."""
    inputs = noise(n_rows, 6, seed=0)
    targets = torch.stack([inputs[:, 0] * inputs[:, 1], inputs[:, 2].abs(), inputs[:, 3].sin()], 1)
    scale = torch.tensor([1000.0**0.5, 1.0, 1.0])
    return problem_of(inputs, (targets + 0.3 * noise(n_rows, 3, seed=1)) * scale, width=24)


def hurried(n_rows: int = 600) -> Problem:
    """Four unrelated tasks and room for all, but epochs for one."""
    inputs = noise(n_rows, 8, seed=0)
    targets = inputs[:, ::2] * inputs[:, 1::2] + 0.3 * noise(n_rows, 4, seed=1)
    return problem_of(inputs, targets, width=32, settings=replace(SETTINGS, epochs=12))


def out_of_pace(n_rows: int = 600) -> Problem:
    """A noisy line with few labels, soon learned by heart, and a product that takes many epochs."""
    inputs = noise(n_rows, 10, seed=0)
    quick = 0.7 * inputs[:, 0] + noise(n_rows, seed=1)
    quick[torch.arange(n_rows) % 10 >= 3] = torch.nan
    slow = inputs[:, 1] * inputs[:, 2] + 0.1 * noise(n_rows, seed=2)
    settings = replace(SETTINGS, epochs=80, learning_rate=0.003, patience=15)
    return problem_of(inputs, torch.stack([quick, slow], 1), width=48, settings=settings)


def noisy_company(n_rows: int = 560) -> Problem:
    """A function of two inputs, and twelve tasks of pure noise, which few rows teach the trunk."""
    inputs = noise(n_rows, 12, seed=0)
    clear = inputs[:, :2].sum(dim=1).tanh() + 0.3 * noise(n_rows, seed=1)
    targets = torch.cat([clear[:, None], noise(n_rows, 12, seed=2)], dim=1)
    settings = replace(SETTINGS, learning_rate=0.005, patience=10)
    return problem_of(inputs, targets, width=32, settings=settings)


def few_rows(n_rows: int = 300) -> Problem:
    """Eight noisy views of one function of many inputs, on few rows."""
    inputs = noise(n_rows, 20, seed=0)
    same = inputs[:, :4].sum(dim=1).tanh()
    return problem_of(inputs, same[:, None] + noise(n_rows, 8, seed=1), width=16)


def contradicting(n_rows: int = 600) -> Problem:
    """Four unrelated tasks that all want the one number that the trunk hands on."""
    inputs = noise(n_rows, 4, seed=0)

    def parts(width: int) -> Parts:
        def trunk() -> nn.Module:
            return nn.Sequential(nn.Sequential(nn.Linear(4, width), nn.ReLU()), nn.Linear(width, 1))

        return trunk, linear_heads(1)

    targets = inputs + 0.5 * noise(n_rows, 4, seed=1)
    return problem_of(inputs, targets, width=8, parts=parts)
