"""Trainings that go on from something, each part at its own pace."""

import math
from pathlib import Path

import torch
from codes import raises
from torch import Tensor, nn

from affinity.sharing import HardSharing, Perceptron
from affinity.tasks import Examples, Replicate, RSquared, SquaredError, Task
from affinity.training import (
    Initialization,
    Member,
    Store,
    TrainedNetwork,
    TrainingSettings,
    train,
    train_members,
)
from affinity.training.members import initial

TASKS = tuple(Task(name, SquaredError(), RSquared()) for name in ("sum", "first"))
SETTINGS = TrainingSettings(epochs=6, batch_size=16, learning_rate=0.01, weight_decay=0.1)
FIRST, LAST = "trunk.0.0.weight", "trunk.1.0.weight"


def rows(count: int, seed: int) -> Examples:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(count, 5, generator=generator, dtype=torch.double)
    return Examples(inputs, torch.stack([inputs.sum(dim=1), inputs[:, 0]], dim=1))


ON = [Replicate(seed, rows(60, seed), rows(30, 7), rows(20, 8)) for seed in range(2)]
MEMBERS = [Member(frozenset(names), at) for names in (("sum",), ("sum", "first")) for at in (0, 1)]


def build(tasks: tuple[Task, ...]) -> HardSharing:
    return HardSharing(
        tasks, lambda: Perceptron(5, width=8, depth=2), lambda task: nn.Linear(8, task.n_outputs)
    ).double()


def fresh(member: Member) -> HardSharing:
    own = [task for task in TASKS if task.name in member.tasks]
    network = initial(build, own, ON[member.replicate].seed)
    assert isinstance(network, HardSharing)
    return network


def starts() -> list[Initialization]:
    """Others for each member: of values, of paces, of what draws them."""
    return [
        Initialization(
            state={FIRST: torch.full((8, 5), 0.1 * number, dtype=torch.double)},
            scales={FIRST: 0.5, "heads.0.weight": 0.25 * number},
            pull=0.3 * number,
            toward={FIRST: torch.ones(8, 5, dtype=torch.double)},
        )
        for number in range(1, 5)
    ]


def together(
    given: list[Initialization], settings: TrainingSettings = SETTINGS
) -> list[TrainedNetwork]:
    return train_members(build, TASKS, MEMBERS, ON, settings, keep=True, starts=given)


def state_of(result: TrainedNetwork) -> dict[str, Tensor]:
    assert result.state is not None
    return result.state


def test_members_with_starts_of_their_own_end_where_they_end_alone() -> None:
    for member, start, result in zip(MEMBERS, starts(), together(starts()), strict=True):
        network = fresh(member)
        start.put_into(network)
        alone = train(network, TASKS, ON[member.replicate], SETTINGS, start=start)
        assert result.unbatched_reason is None
        for name, value in state_of(result).items():
            torch.testing.assert_close(value, state_of(alone)[name], rtol=1e-6, atol=1e-9)


def test_a_start_without_settings_is_none() -> None:
    plain = train_members(build, TASKS, MEMBERS, ON, SETTINGS, keep=True)
    for one, other in zip(plain, together([Initialization()] * 4), strict=True):
        assert all(
            torch.equal(state_of(one)[name], value) for name, value in state_of(other).items()
        )


def test_a_scale_is_that_of_the_learning_rate() -> None:
    scales = {name: 0.5 for name, _ in fresh(MEMBERS[1]).named_parameters()}
    scaled = together([Initialization(scales=scales)] * 4)[1]
    slower = train_members(
        build, TASKS, MEMBERS, ON, TrainingSettings(6, 16, 0.005, 0.1), keep=True
    )[1]
    for name, value in state_of(scaled).items():
        torch.testing.assert_close(value, state_of(slower)[name], rtol=1e-9, atol=1e-11)


def test_what_is_frozen_stays_bit_for_bit() -> None:
    trunk = [name for name, _ in fresh(MEMBERS[0]).named_parameters() if name.startswith("trunk.")]
    for member, result in zip(
        MEMBERS, together([Initialization(scales=dict.fromkeys(trunk, 0.0))] * 4), strict=True
    ):
        before = fresh(member).state_dict()
        assert all(torch.equal(state_of(result)[name], before[name]) for name in trunk)
        assert not torch.equal(state_of(result)["heads.0.weight"], before["heads.0.weight"])


def test_frozen_statistics_stay_too() -> None:
    def build_normed(tasks: tuple[Task, ...]) -> HardSharing:
        return HardSharing(
            tasks,
            lambda: nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4)),
            lambda task: nn.Linear(4, task.n_outputs),
        ).double()

    scales = dict.fromkeys(
        ("trunk.0.weight", "trunk.0.bias", "trunk.1.weight", "trunk.1.bias"), 0.0
    )
    trained = train_members(
        build_normed,
        TASKS,
        MEMBERS,
        ON,
        SETTINGS,
        keep=True,
        starts=[Initialization(scales=scales if place else {}) for place in range(len(MEMBERS))],
    )
    reasons = [result.unbatched_reason for result in trained]
    assert reasons[0] is None
    assert all(reasons[1:])
    learned, *frozen = (state_of(result)["trunk.1.running_mean"] for result in trained)
    assert all(mean.tolist() == [0.0] * 4 for mean in frozen)
    assert learned.abs().min() > 0


def test_a_strong_pull_holds_parameters_at_the_source() -> None:
    where = torch.full((8, 8), 0.25, dtype=torch.double)
    drawn = together([Initialization({LAST: where}, pull=1e4, toward={LAST: where})] * 4)
    free = together([Initialization({LAST: where})] * 4)
    for one, other in zip(drawn, free, strict=True):
        assert (state_of(one)[LAST] - where).abs().max() < 0.03
        assert (state_of(other)[LAST] - where).abs().max() > 0.06


def test_a_store_tells_trainings_at_another_pace_apart(tmp_path: Path) -> None:
    store = Store(tmp_path)

    def loss(*given: Initialization) -> float:
        (result,) = train_members(
            build, TASKS, MEMBERS[:1], ON, SETTINGS, store=store, starts=given or None
        )
        return result.test_loss["sum"]

    assert loss() == loss(Initialization())
    assert len(list(tmp_path.iterdir())) == 1
    assert loss(Initialization(scales={FIRST: 0.5})) != loss()
    assert len(list(tmp_path.iterdir())) == 2
    assert loss(Initialization(scales={FIRST: 0.5})) == loss(Initialization(scales={FIRST: 0.5}))


def test_a_start_of_another_network_names_what_does_not_fit() -> None:
    with raises("start-does-not-fit"):
        Initialization(state={"trunk.9.weight": torch.zeros(1)}).put_into(fresh(MEMBERS[0]))
    with raises("start-does-not-fit"):
        Initialization(state={FIRST: torch.zeros(2, 2)}).put_into(fresh(MEMBERS[0]))
    with raises("invalid-scale"):
        Initialization(scales={FIRST: -1.0})
    with raises("invalid-scale"):
        Initialization(pull=math.nan)
