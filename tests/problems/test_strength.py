"""The strength of soft sharing is chosen on validation rows."""

from collections.abc import Callable

import pytest
import torch
from codes import raises
from torch import Tensor, nn

from affinity.problems import Problem, try_strengths
from affinity.sharing import HardSharing, Perceptron, Separate, Sharing, SoftSharing
from affinity.tasks import Examples, RSquared, SquaredError, Task
from affinity.training import Member, TrainingSettings, fan_out, train_members

BOTH = frozenset({"first", "second"})
SETTINGS = TrainingSettings(epochs=20, batch_size=64, learning_rate=0.03, patience=5)


def problem(is_one_task: bool) -> Problem:
    """Two noisy tasks of ten features: the same one twice, or two with nothing in common."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(400, 10, generator=generator)
    weights = torch.randn(10, 2, generator=generator)
    if is_one_task:
        weights[:, 1] = weights[:, 0]
    targets = inputs @ weights + 2.0 * torch.randn(400, 2, generator=generator)
    rows = Examples(inputs, targets)
    return Problem(
        name="two tasks",
        tasks=tuple(Task(name, SquaredError(), RSquared()) for name in ("first", "second")),
        development=rows.take(torch.arange(200)),
        test=rows.take(torch.arange(200, 400)),
        trunk=lambda: Perceptron(10, width=3, depth=1),
        head=lambda task: nn.Linear(3, task.n_outputs),
        settings=SETTINGS,
    )


def test_tasks_that_are_one_are_drawn_together_and_others_are_not() -> None:
    for is_one_task in (True, False):
        some = problem(is_one_task)
        tried = try_strengths(some, BOTH, some.replicates(4), (0.0, 100.0))
        assert tried.best == (100.0 if is_one_task else 0.0)


def test_the_choice_is_that_of_the_validation_loss_and_sees_no_test_row() -> None:
    some = problem(is_one_task=True)
    settings = TrainingSettings(epochs=3)
    tried = try_strengths(some, BOTH, some.replicates(2), (0.1, 0.0), settings)
    assert tried.strengths == (0.0, 0.1)
    for replicate in range(2):
        losses = [sum(row[replicate].validation_loss.values()) for row in tried.trained]
        strength, trained = tried.best_on(replicate)
        assert sum(trained.validation_loss.values()) == pytest.approx(min(losses), rel=0.05)
        assert strength == tried.strengths[int(tried.scores[:, replicate].argmin())]
    some.test.targets.zero_()
    again = try_strengths(some, BOTH, some.replicates(2), (0.0, 0.1), settings)
    assert torch.equal(tried.scores, again.scores)


def test_bad_strengths_are_refused() -> None:
    some = problem(is_one_task=True)
    with raises("no-strengths"):
        try_strengths(some, BOTH, some.replicates(1), ())
    with raises("invalid-strength"):
        try_strengths(some, BOTH, some.replicates(1), (-1.0,))


@pytest.mark.usefixtures("in_one_process")
def test_soft_sharing_is_separate_at_0_and_hard_sharing_in_the_limit() -> None:
    some = problem(is_one_task=True)
    settings = TrainingSettings(epochs=3, batch_size=32, learning_rate=0.03)
    on, members = some.replicates(2), [Member(BOTH, 0), Member(BOTH, 1)]

    def losses(make: Callable[[tuple[Task, ...]], Sharing], one_by_one: bool = False) -> Tensor:
        train_all = fan_out if one_by_one else train_members
        results = train_all(make, some.tasks, members, on, settings)
        return torch.tensor([list(result.test_loss.values()) for result in results])

    def soft(strength: float) -> Callable[[tuple[Task, ...]], Sharing]:
        return lambda tasks: SoftSharing(tasks, some.trunk, some.head, strength)

    separate = losses(lambda tasks: Separate(tasks, some.trunk, some.head))
    hard = losses(lambda tasks: HardSharing(tasks, some.trunk, some.head))
    torch.testing.assert_close(losses(soft(0.0)), separate, rtol=1e-3, atol=0.0)
    torch.testing.assert_close(losses(soft(1e6)), hard, rtol=1e-3, atol=0.0)
    between = losses(soft(10.0))
    assert not torch.allclose(between, hard, rtol=1e-3)
    torch.testing.assert_close(losses(soft(10.0), one_by_one=True), between, rtol=1e-3, atol=0.0)
