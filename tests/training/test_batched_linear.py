"""Plain parts take the direct way, others that of `vmap`; both end where training alone ends."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor, nn

from affinity.sharing import HardSharing, Perceptron
from affinity.tasks import (
    Accuracy,
    CrossEntropy,
    Examples,
    Replicate,
    RSquared,
    SquaredError,
    Task,
    takes_stacks,
)
from affinity.training import Member, TrainingSettings, initial, train, train_members
from affinity.training.batched_linear import is_batchable
from affinity.training.stack import Stack

SETTINGS = TrainingSettings(epochs=3, batch_size=16, learning_rate=0.01)


@dataclass(frozen=True)
class AbsoluteError:
    """A loss of a user's, who knows of one network only."""

    def __call__(self, prediction: Tensor, target: Tensor) -> Tensor:
        assert prediction.dim() == 2
        labelled = ~target.isnan()
        error = (prediction.squeeze(1) - target.where(labelled, 0)).abs()
        return error.where(labelled, 0).sum() / labelled.sum().clamp(min=1)


TASKS = (
    Task("sum", SquaredError(), RSquared()),
    Task("first", AbsoluteError(), RSquared()),
    Task("kind", CrossEntropy(), Accuracy(), n_outputs=3),
)
MEMBERS = [
    Member(frozenset(names), number)
    for names in ({"sum"}, {"first"}, {"kind", "first"}, {"sum", "first", "kind"})
    for number in (0, 1)
]


class Opaque(nn.Module):
    """A trunk of which nobody knows that it is a perceptron."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = Perceptron(6, width=4, depth=2)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.inside(inputs)


def hooked() -> nn.Module:
    trunk = nn.Linear(6, 4)
    trunk.register_forward_hook(lambda _module, _inputs, output: 2 * output)
    return trunk


TRUNKS: dict[str, tuple[Callable[[], nn.Module], bool]] = {
    "perceptron": (lambda: Perceptron(6, width=4, depth=2), True),
    "residual": (lambda: Perceptron(6, width=4, depth=3, residual=True), True),
    "activations": (
        lambda: nn.Sequential(nn.Linear(6, 5, bias=False), nn.GELU(), nn.Linear(5, 4), nn.Tanh()),
        True,
    ),
    "opaque": (Opaque, False),
    "normalized": (lambda: nn.Sequential(nn.Linear(6, 4), nn.LayerNorm(4)), False),
    "hooked": (hooked, False),
    "pictures": (lambda: nn.Sequential(nn.Conv1d(2, 4, 3), nn.ReLU(), nn.Flatten()), False),
}
HEADS: dict[str, Callable[[Task], nn.Module]] = {
    "linear": lambda task: nn.Linear(4, task.n_outputs),
    "without bias": lambda task: nn.Linear(4, task.n_outputs, bias=False),
    "tower": lambda task: nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, task.n_outputs)),
}


def replicates(shape: tuple[int, ...]) -> list[Replicate]:
    def rows(count: int, seed: int) -> Examples:
        generator = torch.Generator().manual_seed(seed)
        inputs = torch.randn(count, 6, generator=generator, dtype=torch.double)
        kind = inputs[:, :3].argmax(dim=1).double()
        targets = torch.stack([inputs.sum(dim=1), inputs[:, 0], kind], dim=1)
        targets[torch.rand(targets.shape, generator=generator) < 0.2] = math.nan
        return Examples(inputs.unflatten(1, shape), targets)

    return [Replicate(seed, rows(40, seed), rows(30, 5), rows(30, 6)) for seed in (0, 1)]


@pytest.mark.parametrize(
    ("trunk", "head"),
    [*((trunk, "linear") for trunk in TRUNKS), ("perceptron", "without bias"), ("opaque", "tower")],
)
def test_both_ways_end_where_training_alone_ends(trunk: str, head: str) -> None:
    make, is_direct = TRUNKS[trunk]
    assert is_batchable(make()) == is_direct

    def build(tasks: tuple[Task, ...]) -> HardSharing:
        return HardSharing(tasks, make, HEADS[head]).double()

    on = replicates((2, 3) if trunk == "pictures" else (6,))
    results = train_members(build, TASKS, MEMBERS, on, SETTINGS, keep=True)
    for member, result in zip(MEMBERS, results, strict=True):
        replicate = on[member.replicate]
        own = [task for task in TASKS if task.name in member.tasks]
        expected = train(initial(build, own, replicate.seed), TASKS, replicate, SETTINGS)
        assert result.unbatched_reason is None
        assert result.test_loss == pytest.approx(expected.test_loss, rel=1e-9)
        assert result.state is not None
        assert expected.state is not None
        for name, value in result.state.items():
            torch.testing.assert_close(value, expected.state[name], rtol=1e-9, atol=1e-11)


def test_the_losses_here_take_stacks_and_give_each_its_own() -> None:
    generator = torch.Generator().manual_seed(0)
    target = torch.randint(3, (2, 4, 7), generator=generator).float()
    target[torch.rand(target.shape, generator=generator) < 0.3] = math.nan
    for task in TASKS:
        prediction = torch.randn(2, 4, 7, task.n_outputs, generator=generator)
        if not takes_stacks(task.loss):
            continue
        together = task.loss(prediction, target)
        for one in range(2):
            for other in range(4):
                alone = task.loss(prediction[one, other], target[one, other])
                torch.testing.assert_close(together[one, other], alone)
    assert [takes_stacks(task.loss) for task in TASKS] == [True, False, True]


def test_a_stack_that_is_too_large_for_the_memory_is_halved(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def build(tasks: tuple[Task, ...]) -> HardSharing:
        return HardSharing(tasks, TRUNKS["perceptron"][0], HEADS["linear"]).double()

    on = replicates((6,))
    expected = train_members(build, TASKS, MEMBERS, on, SETTINGS)
    through, sizes = Stack.train, list[int]()

    def small(stack: Stack, keep: bool) -> object:
        sizes.append(len(stack._on))
        if len(stack._on) > 2:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to ...")
        return through(stack, keep)

    monkeypatch.setattr(Stack, "train", small)
    results = train_members(build, TASKS, MEMBERS, on, SETTINGS)
    assert sizes == [4, 2, 2, 4, 2, 2]  # sets that miss few labels have a batch more
    for one, other in zip(results, expected, strict=True):
        assert one.test_loss == pytest.approx(other.test_loss)
    monkeypatch.setattr(Stack, "train", lambda *_: (_ for _ in ()).throw(RuntimeError("a bug")))
    with pytest.raises(RuntimeError, match="a bug"):
        train_members(build, TASKS, MEMBERS, on, replace(SETTINGS, epochs=1))
