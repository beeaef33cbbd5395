"""What every way of sharing keeps, and what tells them apart."""

import pytest
import torch
from codes import raises
from torch import Tensor, nn

from affinity.sharing import (
    SHARINGS,
    Attention,
    CrossStitch,
    HardSharing,
    MMoE,
    Perceptron,
    Separate,
    Sharing,
    SoftSharing,
    TaskConditioning,
    check_fit,
    cost_of,
    gate_health,
    match_parameters,
)
from affinity.tasks import Accuracy, CrossEntropy, RSquared, SquaredError, Task

TASKS = (
    Task("depth", SquaredError(), RSquared()),
    Task("edges/2", SquaredError(), RSquared()),
    Task("kind", CrossEntropy(), Accuracy(), n_outputs=3),
)
SAMPLE = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))


def trunk() -> nn.Module:
    return Perceptron(5, width=4, depth=2)


def head(task: Task) -> nn.Module:
    return nn.Linear(4, task.n_outputs)


def make(name: str, tasks: tuple[Task, ...] = TASKS, seed: int = 0) -> Sharing:
    torch.manual_seed(seed)
    return SHARINGS[name](tasks, trunk, head, SAMPLE)


every_sharing = pytest.mark.parametrize("name", SHARINGS)


@every_sharing
def test_every_task_gets_a_prediction_of_its_shape(name: str) -> None:
    network = make(name)
    predictions = network(SAMPLE)
    assert list(predictions) == [task.name for task in TASKS]
    for task in TASKS:
        assert predictions[task.name].shape == (6, task.n_outputs)
    check_fit(network, TASKS, SAMPLE)


@every_sharing
def test_one_task_is_enough(name: str) -> None:
    assert make(name, TASKS[:1])(SAMPLE)["depth"].shape == (6, 1)


@every_sharing
def test_equal_seeds_give_equal_networks(name: str) -> None:
    one, other, third = make(name), make(name), make(name, seed=1)
    for before, after in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(before, after)
    assert not all(map(torch.equal, one.parameters(), third.parameters()))


@every_sharing
def test_heads_start_the_same_in_any_company(name: str) -> None:
    both, alone = make(name), make(name, TASKS[1:2])
    assert torch.equal(both.heads[1].weight, alone.heads[0].weight)


@every_sharing
def test_a_state_dict_goes_there_and_back(name: str) -> None:
    one, other = make(name), make(name, seed=1)
    other.load_state_dict(one.state_dict())
    one.eval(), other.eval()
    for task in TASKS:
        assert torch.equal(one(SAMPLE)[task.name], other(SAMPLE)[task.name])


@every_sharing
def test_a_task_reaches_no_other_tasks_head(name: str) -> None:
    network = make(name)
    reached = _reached_by(network, "depth")
    assert "heads.0.weight" in reached
    assert not {"heads.1.weight", "heads.2.weight"} & reached


def test_sharing_decides_which_parameters_two_tasks_have_in_common() -> None:
    shared = {
        name: _reached_by(make(name), "depth") & _reached_by(make(name), "edges/2")
        for name in SHARINGS
    }
    body = {name for name, _ in make("hard").named_parameters() if name.startswith("trunk")}
    assert shared["hard"] == body
    assert shared["separate"] == set()
    assert shared["soft"] == set()  # only through the pull
    assert shared["mmoe"] == {n for n, _ in make("mmoe").named_parameters() if "experts" in n}
    assert {n.split(".")[0] for n in shared["ple"]} == {"shared", "own", "shared_gates"}
    assert shared["attention"] == {
        n for n, _ in make("attention").named_parameters() if "trunk" in n
    }
    assert "stitches.0" in shared["cross-stitch"]
    assert shared["conditioning"] == {
        n for n, _ in make("conditioning").named_parameters() if "trunk" in n or n == "scale"
    } | {"shift"}


def _reached_by(network: Sharing, task: str) -> set[str]:
    gradients = torch.autograd.grad(
        network(SAMPLE)[task].sum(), list(network.parameters()), allow_unused=True
    )
    names = [name for name, _ in network.named_parameters()]
    return {name for name, gradient in zip(names, gradients, strict=True) if gradient is not None}


def test_separate_and_soft_start_from_the_shared_trunk() -> None:
    hard = make("hard")
    for name in ("separate", "soft"):
        for own in make(name).trunks:
            for before, after in zip(hard.trunk.parameters(), own.parameters(), strict=True):
                assert torch.equal(before, after)


def test_one_hot_gating_trains_as_separate_does() -> None:
    torch.manual_seed(0)
    gated = TaskConditioning(TASKS, trunk, head, width=4, conditioning="one_hot")
    separate = make("separate")
    for network in (gated, separate):
        optimizer = torch.optim.AdamW(network.parameters(), lr=0.01)
        for _ in range(20):
            optimizer.zero_grad()
            torch.cat(
                [(p - 1).square().flatten() for p in network(SAMPLE).values()]
            ).sum().backward()
            optimizer.step()
    for one, other in zip(gated.parameters(), separate.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_concatenating_the_task_is_adding_a_bias() -> None:
    concat = TaskConditioning(TASKS, trunk, head, width=4, conditioning="concat")
    add = TaskConditioning(TASKS, trunk, head, width=4, conditioning="add")
    add.trunks.load_state_dict(concat.trunks.state_dict())
    add.heads.load_state_dict(concat.heads.state_dict())
    with torch.no_grad():
        add.mix.weight.copy_(concat.mix.weight[:, :4])
        add.shift.copy_(concat.mix.weight[:, 4:].T + concat.mix.bias)
    for task in TASKS:
        torch.testing.assert_close(concat(SAMPLE)[task.name], add(SAMPLE)[task.name])


def test_film_scales_and_shifts() -> None:
    film = TaskConditioning(TASKS, trunk, head, width=4, conditioning="film")
    with torch.no_grad():
        film.scale[1] = 0.0
        film.shift[1] = 2.0
    representations = film.represent(SAMPLE)
    assert torch.equal(representations[1], torch.full((6, 4), 2.0))
    assert torch.equal(representations[0], film.trunks[0](SAMPLE))


def test_soft_sharing_is_a_laplacian_of_the_helpful_pairs() -> None:
    affinity = torch.tensor([[9.0, 0.2, -1.0], [0.4, 9.0, 0.1], [0.5, -0.3, 9.0]])
    # Pairs: 0.3, then -0.25 and -0.1, which are left alone; the mean of the three is 0.1.
    network = SoftSharing(TASKS, trunk, head, strength=6.0, affinity=affinity)
    with torch.no_grad():
        for number, own in enumerate(network.trunks):
            for parameter in own.parameters():
                parameter.add_(torch.randn_like(parameter) * (number + 1))

    def parameters() -> Tensor:
        flat = [
            torch.cat([p.detach().flatten() for p in own.parameters()]) for own in network.trunks
        ]
        return torch.stack(flat)

    before = parameters()
    network.after_step(learning_rate=0.5)
    weights = torch.tensor([[0.0, 3.0, 0.0], [3.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    laplacian = weights.sum(dim=1).diag() - weights
    expected = torch.linalg.solve(torch.eye(3) + 0.5 * 6.0 / 3 * laplacian, before)
    torch.testing.assert_close(parameters(), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(parameters()[2], before[2])  # harmed by both others


def mixture(**settings: object) -> MMoE:
    torch.manual_seed(0)
    return MMoE(TASKS, trunk, head, n_features=5, **settings)


def test_a_mixture_is_its_gates_times_its_experts() -> None:
    network = mixture(n_experts=3)
    weights = network.gate_weights(SAMPLE)
    outputs = [expert(SAMPLE) for expert in network.experts]
    for gate, representation in zip(weights, network.represent(SAMPLE), strict=True):
        expected = sum(gate[:, e : e + 1] * outputs[e] for e in range(3))
        torch.testing.assert_close(representation, expected)


def test_one_gate_is_shared_by_all_tasks() -> None:
    network = mixture(n_gates=1)
    assert len(network.gates) == 1
    assert isinstance(network.represent(SAMPLE), Tensor)


def test_gate_dropout_drops_at_its_rate_renormalizes_and_ends_with_training() -> None:
    network = mixture(n_experts=8, gate_dropout=0.1)
    weights = torch.full((20_000, 8), 0.125)
    dropped = network._dropped(weights)
    assert (dropped == 0).float().mean().item() == pytest.approx(0.1, abs=0.01)
    torch.testing.assert_close(dropped.sum(dim=1), torch.ones(20_000))
    kept = dropped[dropped > 0]
    assert kept.min().item() == pytest.approx(0.125)
    network.eval()
    assert torch.equal(network._dropped(weights), weights)


def test_a_row_that_would_lose_all_experts_keeps_them() -> None:
    network = mixture(n_experts=2, gate_dropout=0.9)
    weights = torch.tensor([[0.25, 0.75]]).expand(1000, 2)
    dropped = network._dropped(weights)
    torch.testing.assert_close(dropped.sum(dim=1), torch.ones(1000))
    assert (dropped == weights).all(dim=1).float().mean().item() == pytest.approx(0.82, abs=0.05)


def test_gate_health_finds_polarized_gates_and_identical_experts() -> None:
    network = mixture(n_experts=4)
    healthy = gate_health(network, SAMPLE)
    assert (healthy.polarized, healthy.unused, healthy.identical) == ((), (), ())
    torch.testing.assert_close(healthy.utilization.sum(dim=1), torch.ones(3))
    assert (healthy.entropy > 0.5).all()
    network.experts[2].load_state_dict(network.experts[0].state_dict())
    with torch.no_grad():
        network.gates[1].weight.zero_()
        network.gates[1].weight[3] = 100.0
    positive = SAMPLE.abs() + 0.1
    sick = gate_health(network, positive)
    assert sick.polarized == ("edges/2",)
    assert sick.identical == ((0, 2),)
    assert sick.entropy[1].item() == pytest.approx(0.0, abs=1e-3)


def test_identity_stitches_are_separate_networks() -> None:
    torch.manual_seed(0)
    stitched = CrossStitch(TASKS, trunk, head, own=1.0)
    for one, other in zip(
        stitched.represent(SAMPLE), make("separate").represent(SAMPLE), strict=True
    ):
        torch.testing.assert_close(one, other)


def test_a_cost_counts_the_products() -> None:
    # Experts 4 x (5 x 4 + 4 x 4), gates 3 x 5 x 4, mixing 3 x 4 x 4, heads 4 x (1 + 1 + 3).
    assert cost_of(make("mmoe"), SAMPLE).multiply_adds == 4 * 36 + 60 + 48 + 20
    separate, hard = cost_of(make("separate"), SAMPLE), cost_of(make("hard"), SAMPLE)
    assert separate.parameters - hard.parameters == 2 * (5 * 4 + 4 + 4 * 4 + 4)


@every_sharing
@pytest.mark.parametrize("of", ["parameters", "multiply_adds"])
def test_any_two_ways_of_sharing_can_be_matched(name: str, of: str) -> None:
    def wide(sharing: str, width: int) -> Sharing:
        return SHARINGS[sharing](
            TASKS,
            lambda: Perceptron(5, width=width, depth=2),
            lambda task: nn.Linear(width, task.n_outputs),
            SAMPLE,
        )

    budget = getattr(cost_of(wide("hard", 64), SAMPLE), of)
    width = match_parameters(lambda w: wide(name, w), budget, of=of, sample=SAMPLE)
    assert abs(getattr(cost_of(wide(name, width), SAMPLE), of) / budget - 1) < 0.05


def test_what_does_not_fit_is_told() -> None:
    with raises("head-does-not-fit"):
        check_fit(
            HardSharing(TASKS, trunk, lambda task: nn.Linear(9, task.n_outputs)), TASKS, SAMPLE
        )
    with raises("trunk-does-not-fit"):
        check_fit(make("hard"), TASKS, torch.zeros(2, 7))
    with raises("head-does-not-fit"):
        check_fit(HardSharing(TASKS, trunk, lambda _: nn.Linear(4, 1)), TASKS, SAMPLE)
    with raises("trunk-without-stages"):
        CrossStitch(TASKS, lambda: nn.Linear(5, 4), head)
    with raises("trunk-without-stages"):
        Attention(TASKS, lambda: nn.Sequential(nn.Linear(5, 4)), head, SAMPLE)
    with raises("trunk-without-stages"):
        Attention(
            TASKS,
            lambda: nn.Sequential(nn.Linear(5, 4), nn.Unflatten(1, (2, 2)), nn.Flatten()),
            head,
            SAMPLE,
        )
    with raises("invalid-strength"):
        SoftSharing(TASKS, trunk, head, strength=-1.0)
    with raises("affinity-does-not-fit"):
        SoftSharing(TASKS, trunk, head, affinity=torch.zeros(2, 2))
    with raises("too-few-experts"):
        mixture(n_experts=0)
    with raises("invalid-dropout"):
        mixture(gate_dropout=1.0)
    for n_gates in (0, 2, 4):  # three tasks
        with raises("invalid-n-gates"):
            mixture(n_gates=n_gates)
    with raises("unknown-conditioning"):
        TaskConditioning(TASKS, trunk, head, width=4, conditioning="magic")
    with raises("budget-too-small"):
        match_parameters(lambda _: make("hard"), budget=3)
    with raises("missing-sample"):
        match_parameters(lambda _: make("hard"), budget=3, of="multiply_adds")


def test_separate_trunks_are_not_mixed() -> None:
    network = make("separate")
    assert isinstance(network, Separate)
    with torch.no_grad():
        for parameter in network.trunks[0].parameters():
            parameter.add_(1.0)
    before, after = make("separate")(SAMPLE), network(SAMPLE)
    assert not torch.equal(before["depth"], after["depth"])
    assert torch.equal(before["kind"], after["kind"])


def test_a_mixture_may_share_its_first_layers() -> None:
    torch.manual_seed(0)
    network = SHARINGS["mmoe"].with_settings({"shared_layers": 1, "n_experts": 3})(
        TASKS, trunk, head, SAMPLE
    )
    assert isinstance(network, MMoE)
    assert (len(network.stem), len(network.experts), len(network.experts[0])) == (1, 3, 1)
    hidden = network.stem(SAMPLE)
    for gate, mixed in zip(
        network.gate_weights(hidden), network.eval().represent(SAMPLE), strict=True
    ):
        expected = sum(gate[:, [e]] * expert(hidden) for e, expert in enumerate(network.experts))
        torch.testing.assert_close(mixed, expected)
    assert gate_health(network, SAMPLE).polarized == ()


@pytest.mark.parametrize(("weight", "is_polarized"), [(0.89, False), (0.948, True), (0.98, True)])
def test_a_gate_is_polarized_if_all_other_experts_get_less_than_a_tenth(
    weight: float, is_polarized: bool
) -> None:
    network = mixture(n_experts=4)
    logits = torch.tensor([weight, *[(1 - weight) / 3] * 3]).log()
    with torch.no_grad():
        network.gates[0].weight.zero_()
        network.gates[0].weight[:, 0] = logits
    inputs = SAMPLE.clone()
    inputs[:, 0] = 1.0
    assert ("depth" in gate_health(network, inputs).polarized) == is_polarized


def test_the_task_is_concatenated_to_the_inputs() -> None:
    torch.manual_seed(0)
    network = TaskConditioning(TASKS, trunk, head, width=4, conditioning="input")
    first = network.trunks[0][0][0]
    assert first.in_features == 5 + 3
    for number, representation in enumerate(network.represent(SAMPLE)):
        task = torch.eye(3)[number].expand(6, 3)
        torch.testing.assert_close(representation, network.trunks[0](torch.cat([SAMPLE, task], 1)))
    with raises("trunk-does-not-fit"):
        TaskConditioning(
            TASKS, lambda: nn.Sequential(nn.Flatten(), nn.Linear(5, 4)), head, 4, "input"
        )


SETTINGS = {
    "soft": {"strength": 0.5},
    "mmoe": {"n_experts": 2, "gate_dropout": 0.0, "shared_layers": 1},
    "ple": {"n_shared": 1, "n_own": 2},
    "cross-stitch": {"own": 0.5},
    "conditioning": {"conditioning": "input"},
    "branched": {"after": 2},
    "relationship": {"strength": 0.5, "every": 2},
    "perceiver": {"n_latents": 2, "depth": 0, "queries": "shared"},
}


@every_sharing
def test_settings_are_named_and_checked(name: str) -> None:
    method = SHARINGS[name]
    assert set(method.settings) == set(SETTINGS.get(name, {}))
    assert method.with_settings(SETTINGS.get(name, {}))(TASKS, trunk, head, SAMPLE)
    with raises("unknown-setting"):
        method.with_settings({"magic": 1})


@pytest.mark.parametrize(
    ("name", "settings", "code"),
    [
        ("soft", {"strength": -1.0}, "invalid-strength"),
        ("soft", {"strength": "strong"}, "invalid-setting"),
        ("mmoe", {"n_experts": 0}, "too-few-experts"),
        ("mmoe", {"gate_dropout": 1.0}, "invalid-dropout"),
        ("mmoe", {"shared_layers": 99}, "invalid-shared-layers"),
        ("ple", {"n_own": 0}, "too-few-experts"),
        ("cross-stitch", {"own": 2.0}, "invalid-weight"),
        ("conditioning", {"conditioning": "magic"}, "unknown-conditioning"),
        ("branched", {"after": 99}, "invalid-branching"),
        ("relationship", {"strength": -1.0}, "invalid-strength"),
        ("perceiver", {"queries": "magic"}, "unknown-queries"),
    ],
)
def test_values_of_settings_are_checked(name: str, settings: dict[str, float], code: str) -> None:
    with raises(code):
        SHARINGS[name].with_settings(settings)
