"""Laws that every recipe keeps on a user's own model, and codes of errors."""

import copy
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from codes import raises, warns
from schedulers import RATE, MakeScheduler, every_scheduler, scheduled_rates, step_scheduler
from torch import Tensor, nn

from affinity.transfer import (
    L2SP,
    RECIPES,
    FineTuning,
    FullFineTuning,
    GradualUnfreezing,
    LayerwiseDecay,
    LinearProbe,
    ProbeThenTune,
    Recipe,
    ReinitializedLastLayer,
    ReinitializedTopBlocks,
    SmallerLearningRate,
    SurgicalFineTuning,
    TuningPlan,
    blocks_of,
    relative_gradient_norms,
)

BLOCKS = ["stem", "body", "head"]
EPOCHS = 4
every_recipe = pytest.mark.parametrize("recipe", RECIPES.values(), ids=list(RECIPES))


def model(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    parts = {"stem": nn.Linear(3, 5), "body": nn.Linear(5, 4), "head": nn.Linear(4, 1)}
    return nn.Sequential(
        *(nn.Sequential(parts[name], nn.BatchNorm1d(parts[name].out_features)) for name in BLOCKS)
    )


def batches(seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    for _ in range(3):
        inputs = torch.randn(16, 3, generator=generator)
        yield inputs, inputs.sum(dim=1, keepdim=True)


def norms_of(network: nn.Module) -> dict[str, float]:
    losses = ((network(x) - y).square().mean() for x, y in batches(9))
    return relative_gradient_norms(network, losses, blocks_of(network))


def tuned(
    recipe: Recipe | TuningPlan, epochs: int = EPOCHS
) -> tuple[FineTuning, dict[str, Tensor]]:
    """A tuned model, and the state that it came from."""
    network = model()
    norms = norms_of(copy.deepcopy(network))
    source = copy.deepcopy(network.state_dict())
    torch.manual_seed(1)
    tuning = FineTuning(network, recipe, epochs, norms=norms)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.01)
    tuning.attach(optimizer)
    for epoch in range(epochs):
        network.train()
        tuning.begin_epoch(epoch)
        for inputs, target in batches(epoch):
            optimizer.zero_grad()
            ((network(inputs) - target).square().mean() + tuning.penalty()).backward()
            optimizer.step()
    return tuning, source


def moved(tuning: FineTuning, source: dict[str, Tensor]) -> set[str]:
    now = tuning.model.state_dict()
    return {name for name, value in source.items() if not torch.equal(now[name], value)}


@every_recipe
def test_a_plan_names_every_block_in_every_phase_and_trains_the_head(recipe: Recipe) -> None:
    plan = recipe(BLOCKS, EPOCHS)
    assert plan.blocks == tuple(BLOCKS)
    assert sum(phase.epochs for phase in plan.phases) == EPOCHS
    assert all(phase.learning_rate_scales["head"] > 0 for phase in plan.phases)
    assert all(
        0 <= scale <= 1 for phase in plan.phases for scale in phase.learning_rate_scales.values()
    )


@every_recipe
def test_a_plan_is_read_back_as_it_was_written(recipe: Recipe) -> None:
    plan = recipe(BLOCKS, EPOCHS)
    assert TuningPlan.from_yaml(plan.to_yaml(), BLOCKS) == plan


@every_recipe
def test_equal_seeds_give_equal_results(recipe: Recipe) -> None:
    (one, _), (other, _) = tuned(recipe), tuned(recipe)
    for name, value in one.model.state_dict().items():
        assert torch.equal(value, other.model.state_dict()[name])


@every_recipe
def test_a_frozen_block_stays_bit_for_bit_until_it_is_unfrozen(recipe: Recipe) -> None:
    for epochs in range(1, EPOCHS + 1):
        network = model()
        norms = norms_of(copy.deepcopy(network))
        tuning = FineTuning(network, recipe, EPOCHS, norms=norms)
        source = copy.deepcopy(network.state_dict())
        optimizer = torch.optim.AdamW(network.parameters(), lr=0.01, weight_decay=0.1)
        tuning.attach(optimizer)
        unfrozen: set[str] = set()
        for epoch in range(epochs):
            network.train()
            tuning.begin_epoch(epoch)
            unfrozen |= {name for name, own in tuning.blocks.items() if is_moving(network, own)}
            for inputs, target in batches(epoch):
                optimizer.zero_grad()
                ((network(inputs) - target).square().mean() + tuning.penalty()).backward()
                optimizer.step()
        assert {name.split(".")[0] for name in moved(tuning, source)} == {
            name.split(".")[0] for name in unfrozen
        }


def scales_at(tuning: FineTuning, epoch: int) -> dict[str, float]:
    ends = [
        sum(phase.epochs for phase in tuning.plan.phases[: n + 1])
        for n in range(len(tuning.plan.phases))
    ]
    return tuning.scales(
        next(p for p, end in zip(tuning.plan.phases, ends, strict=True) if epoch < end)
    )


def is_moving(network: nn.Module, names: tuple[str, ...]) -> bool:
    parameters = dict(network.named_parameters())
    return any(parameters[name].requires_grad for name in names)


def test_a_linear_probe_leaves_trunk_and_running_statistics_bit_for_bit() -> None:
    assert {name.split(".")[0] for name in moved(*tuned(LinearProbe()))} == {"2"}


def rates_of(recipe: Recipe, norms: dict[str, float] | None = None) -> list[float]:
    network = model()
    tuning = FineTuning(network, recipe, norms=norms)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.5)
    tuning.attach(optimizer)
    return list(tuning.learning_rates(optimizer).values())


def test_the_rates_are_those_of_the_formulas() -> None:
    assert rates_of(FullFineTuning()) == [0.5, 0.5, 0.5]
    assert rates_of(LinearProbe()) == [0.0, 0.0, 0.5]
    assert rates_of(SmallerLearningRate(0.5)) == [0.25, 0.25, 0.5]
    assert rates_of(LayerwiseDecay(0.5)) == [0.125, 0.25, 0.5]  # d^(K - k)


def test_surgery_by_gradient_gives_the_largest_relative_gradient_the_full_rate() -> None:
    norms = {"0": 0.5, "1": 2.0, "2": 9.0}
    assert rates_of(SurgicalFineTuning(), norms) == [0.125, 0.5, 0.5]
    assert rates_of(SurgicalFineTuning(head=False), norms) == pytest.approx(
        [0.25 / 9, 1.0 / 9, 0.5]
    )


@every_recipe
@every_scheduler
def test_rates_are_the_plan_s_scales_times_the_scheduler_s_rate(
    recipe: Recipe, make_scheduler: MakeScheduler
) -> None:
    network = nn.Sequential(*(nn.Linear(2, 2) for _ in range(3)))
    tuning = FineTuning(network, recipe, EPOCHS, norms={"0": 1.0, "1": 2.0, "2": 4.0})
    tuning.plan = replace(tuning.plan, pull=0.0)
    optimizer = torch.optim.SGD(network.parameters(), lr=RATE)
    tuning.attach(optimizer)
    scheduler = make_scheduler(optimizer)
    for epoch, rate in enumerate(scheduled_rates(make_scheduler)):
        network.train()
        tuning.begin_epoch(epoch)
        expected = [rate * scale for scale in scales_at(tuning, epoch).values()]
        assert list(tuning.learning_rates(optimizer).values()) == pytest.approx(expected)
        before = [block.weight[0, 0].item() for block in network]
        optimizer.zero_grad()
        sum(p.sum() for p in network.parameters() if p.requires_grad).backward()
        optimizer.step()  # every gradient is 1
        moved_by = [b - block.weight[0, 0].item() for b, block in zip(before, network, strict=True)]
        assert moved_by == pytest.approx(expected, abs=1e-6)
        step_scheduler(scheduler)
    assert len(optimizer.param_groups) == 1


def test_a_recipe_at_its_limit_is_full_fine_tuning() -> None:
    full = tuned(FullFineTuning())[0].model.state_dict()
    for recipe in (
        SmallerLearningRate(1.0),
        LayerwiseDecay(1.0),
        L2SP(0.0),
    ):
        other = tuned(recipe)[0].model.state_dict()
        assert all(torch.equal(value, other[name]) for name, value in full.items())


def test_the_last_layer_is_the_head_and_top_blocks_are_more() -> None:
    source = copy.deepcopy(model().state_dict())
    for recipe, fresh in (
        (ReinitializedLastLayer(), {"2"}),
        (ReinitializedTopBlocks(0), {"2"}),
        (ReinitializedTopBlocks(1), {"1", "2"}),
        (ReinitializedTopBlocks(9), {"0", "1", "2"}),
    ):
        torch.manual_seed(1)
        assert {name[0] for name in moved(FineTuning(model(), recipe), source)} == fresh


def test_unfreezing_with_few_epochs_unfreezes_several_blocks_at_once() -> None:
    with warns("several-blocks-at-once"):
        plan = GradualUnfreezing()(list("abcdef"), epochs=3)
    unfrozen = [sum(phase.learning_rate_scales.values()) for phase in plan.phases]
    assert unfrozen[0] == 1
    assert unfrozen[-1] == 6
    assert sum(phase.epochs for phase in plan.phases) == 3
    with warns("several-blocks-at-once"):
        assert GradualUnfreezing()(list("abc"), epochs=1).phases[0].learning_rate_scales == {
            "a": 1,
            "b": 1,
            "c": 1,
        }
    with raises("too-few-epochs"):
        ProbeThenTune()(BLOCKS, epochs=1)


def test_norms_and_activations_belong_to_the_layer_before_them() -> None:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first_norm = nn.BatchNorm1d(3)
            self.layers = nn.ModuleList([nn.Linear(3, 3), nn.Linear(3, 3)])
            self.norm = nn.LayerNorm(3)
            self.act = nn.PReLU()
            self.head = nn.Linear(3, 1)

    blocks = blocks_of(Network())
    assert list(blocks) == ["layers.0", "layers.1", "head"]
    assert "first_norm.weight" in blocks["layers.0"]
    assert {"norm.weight", "act.weight"} <= set(blocks["layers.1"])
    assert blocks_of(Network(), list(blocks)) == blocks
    wrapped = nn.ModuleDict({"net": Network()})
    assert list(blocks_of(wrapped)) == ["net.layers.0", "net.layers.1", "net.head"]


def test_running_statistics_without_parameters_are_frozen_with_their_block() -> None:
    network = nn.Sequential(
        nn.Linear(3, 2), nn.BatchNorm1d(2, affine=False), nn.ReLU(), nn.Linear(2, 1)
    )
    tuning = FineTuning(network, ProbeThenTune(), epochs=2)
    tuning.attach(torch.optim.SGD(network.parameters(), lr=0.1))
    network.train()
    tuning.begin_epoch(0)
    assert not network[1].training
    tuning.begin_epoch(1)  # without network.train() in between, as in Lightning
    assert network[1].training


def test_a_step_that_fails_leaves_the_optimizer_as_it_was() -> None:
    def fail() -> float:
        raise RuntimeError

    network = model()
    tuning = FineTuning(network, LayerwiseDecay())
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.01)
    tuning.attach(optimizer)
    groups = optimizer.param_groups
    with pytest.raises(RuntimeError):
        optimizer.step(fail)
    assert list(tuning.learning_rates(optimizer).values()) == [0.0025, 0.005, 0.01]
    assert optimizer.param_groups is groups


def test_optimizers_that_cannot_follow_the_recipe_are_refused() -> None:
    network = model()
    tuning = FineTuning(network, ProbeThenTune())
    with raises("missing-parameters"):
        tuning.attach(torch.optim.SGD([p for p in network.parameters() if p.requires_grad]))
    with raises("one-learning-rate"):
        tuning.attach(torch.optim.LBFGS(network.parameters()))
    with raises("no-optimizer"):
        tuning.begin_epoch(0)


def test_l2_sp_ends_closer_to_the_source_the_stronger_it_pulls() -> None:
    def distance(pull: float) -> float:
        tuning, source = tuned(L2SP(pull), epochs=12)
        now = tuning.model.state_dict()
        own = [name for block in ("0.0", "1.0") for name in (f"{block}.weight", f"{block}.bias")]
        return sum(float((now[name] - source[name]).square().sum()) for name in own)

    far, near, at = distance(0.0), distance(1.0), distance(100.0)
    assert at < near < far
    assert at < far / 20


def test_the_pull_is_half_its_strength_times_the_squared_distance() -> None:
    network = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Linear(1, 1))
    tuning = FineTuning(network, L2SP(3.0))
    with torch.no_grad():
        network.get_parameter("0.weight").add_(2.0)
        network.get_parameter("1.weight").add_(5.0)  # the head is not drawn
    assert torch.as_tensor(tuning.penalty()).item() == pytest.approx(3.0 / 2 * 4.0)


def test_surgery_moves_the_block_that_was_asked_for() -> None:
    scales = {
        block: SurgicalFineTuning(block, head=False)(BLOCKS).phases[0].learning_rate_scales
        for block in ("first", "middle", "last", "body")
    }
    assert scales["first"] == {"stem": 1.0, "body": 0.0, "head": 0.0}
    assert scales["middle"] == scales["body"] == {"stem": 0.0, "body": 1.0, "head": 0.0}
    assert scales["last"] == {"stem": 0.0, "body": 0.0, "head": 1.0}


def test_an_unknown_block_is_named_with_the_known_ones() -> None:
    with raises("unknown-block"):
        SurgicalFineTuning("neck")(BLOCKS)
    edited = LinearProbe()(BLOCKS).to_yaml().replace("stem", "neck")
    with raises("unknown-block") as info:
        TuningPlan.from_yaml(edited, BLOCKS)
    assert all(repr(name) in str(info.value) for name in ("neck", *BLOCKS))
    with raises("unknown-block"):
        FineTuning(model(), LinearProbe()(BLOCKS))
    with raises("invalid-blocks") as info:
        blocks_of(model(), ["neck", "0", "1", "2"])
    assert "'neck'" in str(info.value)
    with raises("invalid-blocks") as info:
        blocks_of(model(), ["0", "1"])
    assert "'2.0.weight'" in str(info.value)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("[1, 2]", "invalid-tuning-plan"),
        ("a: [", "invalid-yaml"),
        ("phases: []", "no-phase"),
        ("phases: 3", "invalid-tuning-plan"),
        ("phases: [3]", "invalid-tuning-plan"),
        ("fases: []", "unknown-entry"),
        ("phases: [{epochs: 3, rate: 1}]", "unknown-entry"),
        ("recipe: mine", "no-phase"),
        ("phases: [{epochs: 3}]", "invalid-tuning-plan"),
        ("phases: [{epochs: soon, learning_rate_scales: {a: 1}}]", "invalid-tuning-plan"),
        ("phases: [{epochs: 0, learning_rate_scales: {a: 1}}]", "invalid-epochs"),
        ("phases: [{epochs: 1, learning_rate_scales: {a: 0}}]", "invalid-scale"),
        ("phases: [{epochs: 1, learning_rate_scales: {a: -1}}]", "invalid-scale"),
        (
            "{pull: strong, phases: [{epochs: 1, learning_rate_scales: {a: 1}}]}",
            "invalid-tuning-plan",
        ),
        ("{pull: -1, phases: [{epochs: 1, learning_rate_scales: {a: 1}}]}", "invalid-pull"),
        ("{fresh: [b], phases: [{epochs: 1, learning_rate_scales: {a: 1}}]}", "unknown-block"),
    ],
)
def test_an_edited_plan_that_cannot_be_used_says_why(text: str, code: str) -> None:
    with raises(code):
        TuningPlan.from_yaml(text)


def test_entries_of_an_edited_plan_that_are_missing_or_empty_have_defaults() -> None:
    plan = TuningPlan.from_yaml("{fresh: , phases: [{epochs: 1, learning_rate_scales: {a: 1}}]}")
    assert (plan.recipe, plan.fresh, plan.pull) == ("edited", (), 0.0)
    assert plan.phases[0].name == "phase 1"


def test_settings_out_of_range_are_refused() -> None:
    for recipe in (SmallerLearningRate, LayerwiseDecay):
        with raises("invalid-fraction"):
            recipe(1.5)
    with raises("missing-norms"):
        FineTuning(model(), SurgicalFineTuning())


def test_a_fresh_block_without_reset_parameters_is_refused() -> None:
    class Scale(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.factor = nn.Parameter(torch.ones(1))

        def forward(self, inputs: Tensor) -> Tensor:
            return self.factor * inputs

    with raises("no-reset-parameters"):
        FineTuning(
            nn.Sequential(nn.Linear(1, 1), Scale(), nn.Linear(1, 1)), ReinitializedTopBlocks()
        )
