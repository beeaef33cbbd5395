"""The plain loop: the best state is kept, and watching does not change a run."""

import math

import pytest
import torch
from codes import raises
from torch import Tensor, nn

from affinity.errors import DivergenceError
from affinity.sharing import HardSharing
from affinity.tasks import (
    BinaryCrossEntropy,
    Examples,
    Replicate,
    RSquared,
    SquaredError,
    Task,
    loss_on_labelled,
)
from affinity.training import TrainingSettings, train
from affinity.training.batch_losses import losses_of_batches
from affinity.training.judge import losses_of, predict
from affinity.training.reference import constant_loss

TASKS = (Task("sum", SquaredError(), RSquared()), Task("first", SquaredError(), RSquared()))


def examples(count: int, seed: int, noise: float = 1.0) -> Examples:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(count, 4, generator=generator)
    targets = torch.stack([inputs.sum(dim=1), inputs[:, 0]], dim=1)
    return Examples(inputs, targets + noise * torch.randn(count, 2, generator=generator))


def replicate() -> Replicate:
    return Replicate(0, examples(30, 0), examples(40, 1), examples(50, 2))


def network() -> HardSharing:
    torch.manual_seed(0)
    trunk = lambda: nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Dropout(0.1))  # noqa: E731
    return HardSharing(TASKS, trunk, lambda task: nn.Linear(32, task.n_outputs))


def test_the_best_epoch_is_kept() -> None:
    trained = network()
    result = train(
        trained, TASKS, replicate(), TrainingSettings(epochs=60, learning_rate=0.05, patience=5)
    )
    assert result.epochs == result.best_epoch + 5
    assert not result.is_unfinished(60)
    rows = replicate().validation
    assert losses_of(TASKS, predict(trained, rows), rows) == result.validation_loss
    until_best = network()
    shorter = TrainingSettings(epochs=result.best_epoch, learning_rate=0.05, patience=5)
    cut = train(until_best, TASKS, replicate(), shorter)
    assert cut.is_unfinished(shorter.epochs)
    assert not cut.is_unfinished(60)
    for one, other in zip(trained.parameters(), until_best.parameters(), strict=True):
        assert torch.equal(one, other)


def test_averaged_weights_are_nearer_to_the_truth_of_a_noisy_regression() -> None:
    def distance(seed: int, average_weights: bool) -> float:
        torch.manual_seed(seed)
        linear = HardSharing(TASKS, nn.Identity, lambda task: nn.Linear(4, task.n_outputs))
        on = Replicate(seed, examples(800, seed, 2.0), examples(400, 50 + seed), examples(9, 99))
        settings = TrainingSettings(
            epochs=2, batch_size=8, learning_rate=0.1, average_weights=average_weights
        )
        train(linear, TASKS, on, settings)
        truth = torch.tensor([[1.0, 1, 1, 1], [1, 0, 0, 0]])
        weights = torch.cat([head.get_parameter("weight") for head in linear.heads])
        return float((weights - truth).square().sum().detach())

    distances = torch.tensor([[distance(seed, way) for way in (False, True)] for seed in range(3)])
    assert (distances[:, 1] < 0.5 * distances[:, 0]).all()


@pytest.mark.parametrize("column", [0, 1])
def test_a_task_has_the_best_epoch_of_a_run_that_only_it_decides(column: int) -> None:
    settings = TrainingSettings(epochs=40, learning_rate=0.05, patience=40)
    result = train(network(), TASKS, replicate(), settings)
    rows = replicate()
    rows.validation.targets[:, 1 - column] = math.nan
    alone = train(network(), TASKS, rows, settings)
    name = TASKS[column].name
    assert 1 < result.best_epoch_of_task[name] == alone.best_epoch < 40


def test_the_training_loss_is_that_of_the_kept_state() -> None:
    trained = network()
    result = train(trained, TASKS, replicate(), TrainingSettings(epochs=3))
    rows = replicate().training
    assert result.training_loss == losses_of(TASKS, predict(trained, rows), rows)


def test_the_watch_sees_every_step_and_the_run_stays_the_same() -> None:
    settings = TrainingSettings(epochs=3, batch_size=8)
    plain, watched = network(), network()
    expected = train(plain, TASKS, replicate(), settings)
    seen: list[float] = []

    def watch(losses: dict[str, Tensor], closure: object) -> None:
        assert all(loss.requires_grad for loss in losses.values())
        assert callable(closure)
        seen.append(float(losses["sum"].detach()))

    result = train(watched, TASKS, replicate(), settings, watch=watch)
    assert len(seen) == 3 * math.ceil(30 / 8)
    assert result.test_loss == expected.test_loss


def test_random_numbers_outside_are_left_as_found() -> None:
    net = network()
    torch.manual_seed(7)
    before = torch.get_rng_state()
    train(net, TASKS, replicate(), TrainingSettings(epochs=2))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_loss_that_diverges_is_named() -> None:
    bad = replicate()
    bad.training.targets[:, 1] = math.inf
    with pytest.raises(DivergenceError, match=r"'first' became inf at step 1"):
        train(network(), TASKS, bad, TrainingSettings(epochs=2))


def test_a_network_of_unknown_tasks_is_refused() -> None:
    with raises("unknown-task"):
        train(network(), TASKS[:1], replicate(), TrainingSettings(epochs=2))


def test_the_scale_of_a_task_is_its_best_constant() -> None:
    def scale(task: Task, labels: list[float]) -> float:
        rows = Examples(torch.zeros(len(labels), 0), torch.tensor(labels)[:, None])
        return constant_loss(task, rows, rows, 0)

    assert scale(TASKS[0], [1.0, 3.0, math.nan]) == pytest.approx(1.0)
    # A loss that has no closed form here: the median is best.
    absolute = Task("depth", lambda p, t: (p.squeeze(-1) - t).abs().mean(), RSquared())
    assert scale(absolute, [0.0, 0.0, 0.0, 8.0]) == pytest.approx(2.0, abs=0.05)
    assert scale(TASKS[0], [0.0, 0.0, 0.0]) == 1.0


def test_many_heads_at_once_have_the_losses_and_gradients_of_each() -> None:
    tasks = [
        Task(f"t{n}", BinaryCrossEntropy() if n % 3 == 0 else SquaredError(), RSquared())
        for n in range(20)
    ]
    torch.manual_seed(0)
    trained = HardSharing(tasks, lambda: nn.Linear(4, 5), lambda _: nn.Linear(5, 1))
    targets = torch.randint(0, 2, (9, 20)).float()
    targets[2:5, 7] = math.nan
    targets[:, 8] = math.nan
    batch = Examples(torch.randn(9, 4), targets, weights=torch.rand(9))
    together = losses_of_batches(trained, tasks)(batch)
    predictions = trained(batch.inputs)
    assert list(together) == [task.name for task in tasks]
    for task, target in zip(tasks, targets.T, strict=True):
        alone = loss_on_labelled(task.loss, predictions[task.name], target, batch.weights)
        assert torch.allclose(together[task.name], alone)
        (ours, theirs) = (
            torch.autograd.grad(loss, trained.trunk.weight, retain_graph=True)[0]
            for loss in (together[task.name], alone)
        )
        assert torch.allclose(ours, theirs, atol=1e-7)
