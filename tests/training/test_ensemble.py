"""Ensembles end where the same networks end alone."""

import math
from dataclasses import replace

import pytest
import torch
from codes import raises
from torch import Tensor, nn

from affinity.sharing import SHARINGS, HardSharing, MMoE, Perceptron, Sharing, SoftSharing
from affinity.tasks import (
    Accuracy,
    BinaryCrossEntropy,
    CrossEntropy,
    Examples,
    Replicate,
    RocAuc,
    RSquared,
    SquaredError,
    Task,
)
from affinity.training import Member, TrainedNetwork, TrainingSettings, train, train_members
from affinity.training.members import initial

TASKS = (
    Task("sign", BinaryCrossEntropy(), RocAuc()),
    Task("sum", SquaredError(), RSquared()),
    Task("kind", CrossEntropy(), Accuracy(), n_outputs=3),
    Task("first", SquaredError(), RSquared()),
)
SETTINGS = TrainingSettings(epochs=12, batch_size=16, learning_rate=0.01, patience=3)
SHORT = replace(SETTINGS, epochs=3)


def rows(count: int, seed: int, layout: str) -> Examples:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(count, 5, generator=generator, dtype=torch.double)
    total = inputs.sum(dim=1)
    targets = torch.stack(
        [(inputs[:, 0] > 0).double(), total, inputs[:, :3].argmax(dim=1).double(), inputs[:, 0]],
        dim=1,
    )
    if layout == "some missing":
        targets[torch.rand(targets.shape, generator=generator) < 0.4] = math.nan
    if layout == "one task per row":
        owner = torch.randint(4, (count,), generator=generator)
        targets[torch.arange(4) != owner[:, None]] = math.nan
    return Examples(inputs, targets)


def replicates(layout: str = "all", count: int = 2) -> list[Replicate]:
    return [
        Replicate(
            seed,
            rows(70 + 3 * seed, seed, layout),
            rows(40, 10 + seed, layout),
            rows(50, 99, layout),
        )
        for seed in range(count)
    ]


def build(tasks: tuple[Task, ...], dropout: float = 0.0) -> HardSharing:
    return HardSharing(
        tasks,
        lambda: nn.Sequential(Perceptron(5, width=8, depth=2), nn.Dropout(dropout)),
        lambda task: nn.Linear(8, task.n_outputs),
    ).double()


def members(count: int = 2) -> list[Member]:
    names = [{"sign"}, {"sum"}, {"sum", "first"}, {"kind", "sign", "sum", "first"}, {"kind"}]
    return [Member(frozenset(some), number) for some in names for number in range(count)]


def alone(
    member: Member, on: list[Replicate], settings: TrainingSettings = SETTINGS
) -> TrainedNetwork:
    replicate = on[member.replicate]
    network = initial(build, [task for task in TASKS if task.name in member.tasks], replicate.seed)
    return train(network, TASKS, replicate, settings)


@pytest.mark.parametrize("layout", ["all", "some missing", "one task per row"])
def test_a_member_ends_where_the_same_network_ends_alone(layout: str) -> None:
    on = replicates(layout)
    for member, result in zip(
        members(), train_members(build, TASKS, members(), on, SETTINGS, keep=True), strict=True
    ):
        expected = alone(member, on)
        assert result.unbatched_reason is None
        assert set(result.tasks) == member.tasks
        assert (result.best_epoch, result.epochs) == (expected.best_epoch, expected.epochs)
        assert result.best_epoch_of_task == expected.best_epoch_of_task
        assert result.n_parameters == expected.n_parameters
        for name in member.tasks:
            assert result.test_loss[name] == pytest.approx(expected.test_loss[name], rel=1e-9)
            assert result.training_loss[name] == pytest.approx(expected.training_loss[name])
            assert result.validation_loss[name] == pytest.approx(expected.validation_loss[name])
            assert result.test_metric[name] == pytest.approx(expected.test_metric[name], rel=1e-9)
            blocks = result.test_blocks[name]  # 50 rows: one a block
            assert blocks == pytest.approx(expected.test_blocks[name], rel=1e-8)
            assert sum(blocks) / len(blocks) == pytest.approx(result.test_loss[name])
        assert result.state is not None
        assert expected.state is not None
        assert list(result.state) == list(expected.state)
        for name, value in result.state.items():
            torch.testing.assert_close(value, expected.state[name], rtol=1e-9, atol=1e-11)
        assert result.predictions is not None
        assert expected.predictions is not None
        for name, prediction in result.predictions.items():
            torch.testing.assert_close(prediction, expected.predictions[name])


@pytest.mark.parametrize("sharing", SHARINGS)
def test_every_sharing_trains_in_a_stack_as_it_does_alone(sharing: str) -> None:
    on = replicates()
    sample = on[0].training.inputs[:2]

    def shared(tasks: tuple[Task, ...]) -> Sharing:
        trunk, head = (
            lambda: Perceptron(5, width=8, depth=2),
            lambda task: nn.Linear(8, task.n_outputs),
        )
        network = SHARINGS[sharing](tasks, trunk, head, sample.float()).double()
        if isinstance(network, MMoE):
            network.gate_dropout = 0.0  # masks are drawn for each member
        if isinstance(network, SoftSharing):
            network.strength.fill_(0.1)
        return network

    pairs = [{"sum", "first"}, {"sum", "sign"}, {"kind", "sign", "sum"}]
    some = [Member(frozenset(names), number) for names in pairs for number in range(2)]
    settings = replace(SHORT, average_weights=True)
    results = train_members(shared, TASKS, some, on, settings, keep=True)
    for member, result in zip(some, results, strict=True):
        replicate = on[member.replicate]
        own = [task for task in TASKS if task.name in member.tasks]
        expected = train(initial(shared, own, replicate.seed), TASKS, replicate, settings)
        assert (result.unbatched_reason is None) == (sharing != "relationship")
        assert result.epochs == expected.epochs
        assert result.test_loss == pytest.approx(expected.test_loss, rel=1e-8)
        assert result.state is not None
        assert expected.state is not None
        for name, value in result.state.items():
            torch.testing.assert_close(value, expected.state[name], rtol=1e-8, atol=1e-10)


def test_what_is_trained_beside_a_member_does_not_matter() -> None:
    on = replicates()
    together = train_members(build, TASKS, members(), on, SHORT)
    for at_once in (1, 3):
        for one, other in zip(
            together,
            train_members(build, TASKS, members(), on, SHORT, at_once=at_once),
            strict=True,
        ):
            assert one.test_loss == pytest.approx(other.test_loss)
            assert one.epochs == other.epochs


def test_networks_of_a_replicate_start_alike() -> None:
    one = initial(build, TASKS, seed=3).state_dict()
    other = initial(build, TASKS[1:2], seed=3).state_dict()
    assert torch.equal(one["trunk.0.0.0.weight"], other["trunk.0.0.0.weight"])
    assert torch.equal(one["heads.1.weight"], other["heads.0.weight"])


def test_dropout_is_drawn_for_each_member_and_repeats_with_the_seed() -> None:
    def dropping(tasks: tuple[Task, ...]) -> HardSharing:
        return build(tasks, dropout=0.5)

    on = [replicates()[0]] * 2  # the same rows and seed: only the masks differ
    pair = [Member(frozenset({"sum"}), 0), Member(frozenset({"sum"}), 1)]
    first = train_members(dropping, TASKS, pair, on, SHORT)
    again = train_members(dropping, TASKS, pair, on, SHORT)
    assert [result.unbatched_reason for result in first] == [None, None]
    assert first[0].test_loss != first[1].test_loss
    assert [result.test_loss for result in first] == [result.test_loss for result in again]


def test_a_diverging_member_leaves_the_others_alone() -> None:
    on = replicates()
    expected = train_members(build, TASKS, members(), on, SHORT)
    on[1].training.targets[5, 1] = math.inf
    results = train_members(build, TASKS, members(), on, SHORT)
    for member, result, before in zip(members(), results, expected, strict=True):
        if member.replicate == 1 and "sum" in member.tasks:
            assert result.diverged is not None
            assert "'sum'" in result.diverged
            assert all(math.isnan(loss) for loss in result.test_loss.values())
        else:
            assert result.diverged is None
            assert result.test_loss == pytest.approx(before.test_loss)


@pytest.mark.parametrize("sharing", ["hard", "soft", "mmoe"])
@pytest.mark.parametrize("layout", ["all", "some missing"])
def test_batch_normalization_in_a_stack_is_that_of_training_alone(
    sharing: str, layout: str
) -> None:
    on = replicates(layout)  # of 73 rows, the last of 5 batches of 18 has one
    settings = replace(SHORT, batch_size=18)
    sample = on[0].training.inputs[:2].float()

    def normalizing(tasks: tuple[Task, ...]) -> Sharing:
        def trunk() -> nn.Module:
            return nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU())

        chosen = SHARINGS[sharing].with_settings({"gate_dropout": 0.0} if sharing == "mmoe" else {})
        return chosen(tasks, trunk, lambda task: nn.Linear(8, task.n_outputs), sample).double()

    some = [member for member in members() if sharing == "hard" or len(member.tasks) > 1]
    results = train_members(normalizing, TASKS, some, on, settings, keep=True)
    for member, result in zip(some, results, strict=True):
        replicate = on[member.replicate]
        own = [task for task in TASKS if task.name in member.tasks]
        expected = train(initial(normalizing, own, replicate.seed), TASKS, replicate, settings)
        assert result.unbatched_reason is None
        assert result.test_loss == pytest.approx(expected.test_loss, rel=1e-8)
        assert result.state is not None
        assert expected.state is not None
        for name, value in result.state.items():
            torch.testing.assert_close(value, expected.state[name], rtol=1e-6, atol=1e-8)


def test_what_cannot_be_stacked_is_trained_alone_and_says_why() -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.RNN(5, 8)

        def forward(self, inputs: Tensor) -> Tensor:
            return self.layer(inputs)[0]

    def awkward(tasks: tuple[Task, ...]) -> HardSharing:
        return HardSharing(tasks, Recurrent, lambda task: nn.Linear(8, task.n_outputs)).double()

    results = train_members(awkward, TASKS, members(), replicates(), SHORT)
    assert all("recurrent" in str(result.unbatched_reason) for result in results)
    assert all(math.isfinite(loss) for result in results for loss in result.test_loss.values())


def test_code_that_vmap_cannot_follow_is_trained_alone() -> None:
    class Choosy(nn.Linear):
        def forward(self, input: Tensor) -> Tensor:  # noqa: A002
            return super().forward(input) if bool(input.sum() > 0) else -super().forward(input)

    def choosy(tasks: tuple[Task, ...]) -> HardSharing:
        trunk = lambda: Choosy(5, 8)  # noqa: E731
        return HardSharing(tasks, trunk, lambda task: nn.Linear(8, task.n_outputs)).double()

    for result in train_members(choosy, TASKS, members(), replicates(), SHORT):
        assert result.unbatched_reason is not None
        assert "vmap" in result.unbatched_reason


def test_bad_members_are_named() -> None:
    on = replicates()
    with raises("empty-network"):
        train_members(build, TASKS, [Member(frozenset(), 0)], on, SETTINGS)
    with raises("unknown-task"):
        train_members(build, TASKS, [Member(frozenset({"edges"}), 0)], on, SETTINGS)
    with raises("unknown-replicate"):
        train_members(build, TASKS, [Member(frozenset({"sum"}), 7)], on, SETTINGS)
    on[0].training.targets[:, 1] = math.nan
    with raises("no-labels"):
        train_members(build, TASKS, [Member(frozenset({"sum"}), 0)], on, SETTINGS)


class WithOwnSteps(HardSharing):
    """Hard sharing whose gradients are clipped before each step."""

    def before_step(self) -> None:
        torch.nn.utils.clip_grad_norm_(self.parameters(), 0.1)


def test_a_network_with_steps_of_its_own_is_trained_alone() -> None:
    def make(tasks: tuple[Task, ...]) -> Sharing:
        head = lambda task: nn.Linear(8, task.n_outputs)  # noqa: E731
        return WithOwnSteps(tasks, lambda: Perceptron(5, 8), head).double()

    pair = [Member(frozenset({"sum", "first"}), number) for number in range(2)]
    results = train_members(make, TASKS, pair, replicates(), SHORT)
    assert all(result.unbatched_reason is not None for result in results)
