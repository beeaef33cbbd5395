"""Objectives follow their formulas, and one interface."""

import math

import pytest
import torch
from codes import raises
from torch import Tensor, nn

from affinity.sharing import HardSharing
from affinity.tasks import Examples, Replicate, RSquared, SquaredError, Task
from affinity.training import (
    OBJECTIVES,
    DynamicWeightAverage,
    GradNorm,
    JacobianDescent,
    Member,
    Minimax,
    Objective,
    Sum,
    TaskBatches,
    TrainingSettings,
    UncertaintyWeighting,
    Weighted,
    fan_out,
    train,
    train_members,
)

TASKS = tuple(Task(name, SquaredError(), RSquared()) for name in ("a", "b", "c"))
NAMES = tuple(task.name for task in TASKS)


def examples(count: int, seed: int) -> Examples:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(count, 4, generator=generator)
    targets = torch.stack([inputs[:, 0], 3 * inputs[:, 1], inputs.sum(dim=1)], dim=1)
    targets[: count // 4, 2] = math.nan
    return Examples(inputs, targets)


def replicate() -> Replicate:
    return Replicate(0, examples(64, 0), examples(40, 1), examples(40, 2))


def network() -> HardSharing:
    torch.manual_seed(0)
    return HardSharing(TASKS, lambda: nn.Linear(4, 8), lambda task: nn.Linear(8, task.n_outputs))


def gradients(
    objective: Objective, is_present: tuple[bool, ...] = (True, True, True)
) -> HardSharing:
    net = network()
    batch = examples(32, 3)
    predictions = net(batch.inputs)
    losses = [
        task.loss(predictions[task.name], target) * here
        for task, target, here in zip(TASKS, batch.targets.T, is_present, strict=True)
    ]
    balance = objective.start(NAMES, losses[0].detach())
    balance.backward(losses, torch.tensor(is_present), torch.zeros(()))
    return net


def losses_of(net: HardSharing) -> Tensor:
    batch = examples(32, 3)
    predictions = net(batch.inputs)
    return torch.stack(
        [
            task.loss(predictions[task.name], target)
            for task, target in zip(TASKS, batch.targets.T, strict=True)
        ]
    )


def needs_torchjd(name: str) -> None:
    if isinstance(OBJECTIVES[name], JacobianDescent):
        pytest.importorskip("torchjd", reason="TorchJD is an extra: pip install torchjd")


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_trains(name: str) -> None:
    needs_torchjd(name)
    settings = TrainingSettings(
        epochs=20, batch_size=16, learning_rate=0.05, objective=OBJECTIVES[name]
    )
    net = network()
    before = losses_of(net).detach()
    result = train(net, TASKS, replicate(), settings)
    assert all(math.isfinite(loss) for loss in result.test_loss.values())
    assert losses_of(net).max() < 0.5 * before.max()
    again = train(network(), TASKS, replicate(), settings)
    assert again.test_loss == result.test_loss


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # of cvxpy, about how TorchJD states its problems
@pytest.mark.parametrize(
    "objective",
    [
        JacobianDescent("CAGrad", (("c", 0.4),)),
        JacobianDescent("NashMTL", (("n_tasks", 3),)),
        JacobianDescent("AlignedMTL"),
        JacobianDescent("IMTLG"),
    ],
    ids=lambda objective: objective.aggregator,
)
def test_other_aggregators_of_torchjd_train(objective: JacobianDescent) -> None:
    pytest.importorskip("torchjd", reason="TorchJD is an extra: pip install torchjd")
    pytest.importorskip("cvxpy", reason="what CAGrad and NashMTL solve with: pip install cvxpy")
    settings = TrainingSettings(epochs=5, batch_size=32, learning_rate=0.05, objective=objective)
    net = network()
    before = losses_of(net).detach()
    train(net, TASKS, replicate(), settings)
    assert losses_of(net).mean() < 0.8 * before.mean()


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_task_without_labels_in_the_batch_gets_no_gradient(name: str) -> None:
    needs_torchjd(name)
    net = gradients(OBJECTIVES[name], is_present=(True, False, True))
    present = [net.heads[number].weight.grad for number in (0, 2)]
    assert any(gradient is not None and gradient.abs().sum() > 0 for gradient in present)
    absent = net.heads[1].weight.grad
    assert absent is None or absent.abs().sum() == 0


def test_weights_scale_the_gradients() -> None:
    plain, weighted = gradients(Sum()), gradients(Weighted((("b", 0.5), ("c", 0.25))))
    torch.testing.assert_close(weighted.heads[0].weight.grad, plain.heads[0].weight.grad)
    torch.testing.assert_close(weighted.heads[1].weight.grad, 0.5 * plain.heads[1].weight.grad)
    torch.testing.assert_close(weighted.heads[2].weight.grad, 0.25 * plain.heads[2].weight.grad)


def test_minimax_follows_the_worst_task_alone() -> None:
    losses = losses_of(network())
    worst = int(losses.argmax())
    net = gradients(Minimax())
    for number, head in enumerate(net.heads):
        assert (head.weight.grad is None or bool(head.weight.grad.abs().sum() == 0)) == (
            number != worst
        )


def test_uncertainty_weighting_divides_each_task_by_its_own_loss() -> None:
    losses = torch.tensor([4.0, 0.25])
    balance = UncertaintyWeighting().start(("a", "b"), losses)
    optimizer = torch.optim.Adam(balance.parameters(), lr=0.05)
    for _ in range(800):
        optimizer.zero_grad()
        balance.backward(losses.unbind(), torch.tensor([True, True]), torch.zeros(()))
        optimizer.step()
    (learned,) = balance.parameters()
    torch.testing.assert_close(learned.detach().exp(), losses, rtol=0.01, atol=0)


def test_dynamic_weights_follow_the_paper() -> None:
    balance = DynamicWeightAverage(temperature=1.0).start(("a", "b"), torch.zeros(2))
    balance.end_epoch(torch.tensor([1.0, 1.0]))
    assert balance.weights().tolist() == [1.0, 1.0]
    balance.end_epoch(torch.tensor([1.0, 0.5]))  # rates 1 and 1/2
    expected = 2 * torch.tensor([1.0, 0.5]).softmax(dim=0)
    torch.testing.assert_close(balance.weights(), expected)


def test_gradnorm_raises_the_weight_of_a_small_gradient() -> None:
    scale = nn.Parameter(torch.ones(1))
    balance = GradNorm(alpha=0.0, learning_rate=0.01).start(("a", "b"), scale)
    for _ in range(400):
        scale.grad = None
        losses = [10.0 * scale.sum(), 1.0 * scale.sum()]
        balance.backward(losses, torch.tensor([True, True]), torch.zeros(()))
    # alpha = 0 makes the norms equal: 10 w_a = w_b, and both sum to 2.
    torch.testing.assert_close(balance.weights, torch.tensor([2 / 11, 20 / 11]), atol=0.1, rtol=0)


def test_shared_parameters_follow_the_aggregator_and_others_their_own_task() -> None:
    aggregation = pytest.importorskip("torchjd.aggregation")
    shared, own = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.ones(()))
    jacobian = torch.tensor([[1.0, 0.0], [-1.0, 1.0]])
    losses = [jacobian[0] @ shared + 2.0 * own, jacobian[1] @ shared]
    balance = JacobianDescent("UPGrad").start(("a", "b"), shared)
    balance.backward(losses, torch.tensor([True, True]), torch.zeros(()))
    torch.testing.assert_close(shared.grad, aggregation.UPGrad()(jacobian))
    assert (jacobian @ shared.grad >= -1e-6).all()  # no task gets worse
    assert own.grad == 2.0


def test_bad_objectives_are_refused() -> None:
    pytest.importorskip("torchjd")
    with raises("unknown-aggregator"):
        JacobianDescent("Magic").start(NAMES, torch.zeros(1))
    with raises("invalid-setting"):
        JacobianDescent("MGDA", (("magic", 1),)).start(NAMES, torch.zeros(1))


def test_bad_settings_of_objectives_are_refused() -> None:
    with raises("invalid-weight"):
        Weighted((("a", 0.0),))
    with raises("invalid-temperature"):
        DynamicWeightAverage(temperature=0.0)
    with raises("invalid-setting"):
        GradNorm(alpha=-1.0)
    with raises("unknown-schedule"):
        TrainingSettings(schedule="magic")


def build(tasks: tuple[Task, ...]) -> HardSharing:
    return HardSharing(tasks, lambda: nn.Linear(4, 8), lambda task: nn.Linear(8, task.n_outputs))


def test_what_cannot_be_trained_at_once_is_trained_one_by_one() -> None:
    members = [Member(frozenset(NAMES), 0), Member(frozenset({"b", "c"}), 0)]
    for settings in (
        TrainingSettings(epochs=2, objective=GradNorm()),
        TrainingSettings(epochs=2, sampling=TaskBatches()),
    ):
        results = train_members(build, TASKS, members, [replicate()], settings, keep=True)
        assert all(result.unbatched_reason and result.state for result in results)
        separately = fan_out(build, TASKS, members, [replicate()], settings, n_jobs=1)
        assert [r.test_loss for r in results] == [r.test_loss for r in separately]


def test_an_unknown_task_has_no_weight() -> None:
    settings = TrainingSettings(epochs=1, objective=Weighted((("z", 2.0),)))
    members = [Member(frozenset({"a"}), 0)]
    for train_all in (train_members, fan_out):
        with raises("unknown-task"):
            train_all(build, TASKS, members, [replicate()], settings)


def test_early_stopping_follows_the_objective() -> None:
    losses = torch.tensor([[2.0, 1.0], [1.0, 1.75], [math.nan, 3.0], [math.nan, math.nan]])
    scales = torch.tensor([4.0, 0.5]).expand(4, 2)
    worst = Minimax().score(losses, scales)
    assert worst[:3].tolist() == [2.0, 1.75, 3.0]
    relative = Sum().score(losses, scales)
    assert relative[:3].tolist() == [1.25, 1.875, 6.0]
    weighted = Weighted((("a", 3.0),)).score(losses, scales, torch.tensor([3.0, 1.0]).expand(4, 2))
    assert weighted[:3].tolist() == [1.75, 1.1875, 3.0]
    assert all(score[3].isnan() for score in (worst, relative, weighted))


def test_an_ensemble_keeps_weights_and_schedule() -> None:
    settings = TrainingSettings(
        epochs=6,
        batch_size=16,
        learning_rate=0.02,
        schedule="cosine",
        objective=Weighted((("b", 0.25),)),
    )
    members = [Member(frozenset(NAMES), 0), Member(frozenset({"b", "c"}), 0)]
    from affinity.training import initial

    for member, result in zip(
        members, train_members(build, TASKS, members, [replicate()], settings), strict=True
    ):
        own = tuple(task for task in TASKS if task.name in member.tasks)
        expected = train(initial(build, own, 0), TASKS, replicate(), settings)
        assert result.test_loss == pytest.approx(expected.test_loss, rel=1e-4)


def test_the_schedule_falls_along_a_cosine() -> None:
    settings = TrainingSettings(epochs=4, learning_rate=1.0, schedule="cosine")
    rates = [settings.learning_rate_at(epoch) for epoch in (1, 2, 3, 4)]
    assert rates == pytest.approx([1.0, 0.853553, 0.5, 0.146447], abs=1e-6)
    assert TrainingSettings(learning_rate=1.0).learning_rate_at(50) == 1.0


@pytest.mark.parametrize(("temperature", "share"), [(1.0, 0.8), (math.inf, 0.5)])
def test_tasks_are_sampled_by_size_or_uniformly(temperature: float, share: float) -> None:
    targets = torch.full((1000, 2), math.nan)
    targets[:800, 0], targets[800:, 1] = 1.0, 1.0
    rows = Examples(torch.arange(1000.0)[:, None], targets)
    batches = list(TaskBatches(temperature=temperature)(rows, torch.randperm(1000), 2, seed=0))
    assert len(batches) == 500
    first = [bool(batch.labelled[:, 0].any()) for batch in batches]
    assert all(int(batch.labelled.any(dim=0).sum()) == 1 for batch in batches)
    assert sum(first) / 500 == pytest.approx(share, abs=0.07)


def test_a_sampled_tasks_rows_are_its_own_and_come_in_turn() -> None:
    rows = Examples(torch.arange(12.0)[:, None], torch.ones(12, 2))
    batches = list(TaskBatches(tasks=2)(rows, torch.arange(12), 4, seed=0))
    assert [batch.labelled.sum(dim=0).tolist() for batch in batches] == [[2, 2]] * 3
    first = torch.cat([batch.inputs[batch.labelled[:, 0], 0] for batch in batches])
    assert first.tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    with raises("invalid-sampling"):
        TaskBatches(tasks=0)


def test_a_task_without_training_rows_is_not_sampled() -> None:
    targets = torch.ones(12, 3)
    targets[:, 1] = math.nan
    for temperature in (1.0, math.inf):
        sampling = TaskBatches(temperature=temperature)
        batches = list(sampling(Examples(torch.zeros(12, 1), targets), torch.arange(12), 4, seed=0))
        assert {int(batch.labelled.any(dim=0).nonzero()) for batch in batches} <= {0, 2}


def test_training_on_sampled_tasks_works() -> None:
    settings = TrainingSettings(
        epochs=15, batch_size=16, learning_rate=0.02, sampling=TaskBatches(tasks=2)
    )
    net = network()
    before = losses_of(net).detach()
    train(net, TASKS, replicate(), settings)
    assert losses_of(net).max() < 0.5 * before.max()
