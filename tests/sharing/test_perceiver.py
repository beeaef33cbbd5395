"""A Perceiver's queries learn to read the columns that their tasks depend on."""

import torch
from codes import raises
from torch import nn

from affinity.sharing import Perceiver
from affinity.tasks import RSquared, SquaredError, Task

TASKS = tuple(Task(name, SquaredError(), RSquared()) for name in ("left", "right"))


def make(queries: object = "task", n_columns: int = 6) -> Perceiver:
    torch.manual_seed(0)
    sample = torch.zeros(2, n_columns)
    return Perceiver(
        TASKS, lambda _: nn.Linear(16, 1), sample, width=16, n_latents=4, queries=queries
    )


def test_each_query_reads_the_columns_of_its_task() -> None:
    network = make(n_columns=24)
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(256, 24, generator=generator)
    targets = torch.stack([inputs[:, 0] - inputs[:, 1], inputs[:, 4] + inputs[:, 5]], dim=1)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    for _ in range(300):
        predictions = torch.cat(list(network(inputs).values()), dim=1)
        loss = (predictions - targets).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.1
    left, right = network.column_weights(inputs)
    uniform = 2 / 24
    assert left[:2].sum() > 2 * max(uniform, left[4:6].sum())
    assert right[4:6].sum() > 2 * uniform
    assert right[4:6].sum() > right[:2].sum()


def test_shared_and_grouped_queries_read_alike() -> None:
    inputs = torch.randn(5, 6)
    for queries in ("shared", [["left", "right"]]):
        first, second = make(queries).represent(inputs)
        torch.testing.assert_close(first, second)
    first, second = make([["right"], ["left"]]).represent(inputs)
    assert not torch.allclose(first, second)


def test_images_have_a_token_per_position() -> None:
    images = torch.randn(3, 2, 4, 5)
    network = Perceiver(TASKS, lambda _: nn.Linear(8, 1), images, width=8)
    assert network(images)["left"].shape == (3, 1)
    weights = network.column_weights(images)
    assert weights.shape == (2, 20)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(2))


def test_bad_settings_are_refused() -> None:
    with raises("unknown-queries"):
        make("every task")
    with raises("queries-do-not-fit"):
        make([["left"]])
    with raises("out-of-range"):
        Perceiver(TASKS, lambda _: nn.Linear(8, 1), torch.zeros(2, 3), width=8, n_latents=0)
