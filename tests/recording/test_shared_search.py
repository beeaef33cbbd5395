"""What is shared follows from gradients, whatever the losses passed through."""

from collections.abc import Callable, Sequence

import pytest
import torch
from codes import warns
from torch import Tensor, nn

from affinity.recording import Recorder

INPUTS = torch.randn(16, 4, generator=torch.Generator().manual_seed(0))
TARGETS = torch.randn(16, 2, generator=torch.Generator().manual_seed(1))


def make() -> nn.ModuleDict:
    torch.manual_seed(0)
    parts = {"trunk": nn.Linear(4, 4), "a": nn.Linear(4, 1), "b": nn.Linear(4, 1)}
    return nn.ModuleDict({**parts, "joint": nn.Linear(4, 2)})


def apart(model: nn.ModuleDict) -> tuple[Tensor, Tensor]:
    hidden = model["trunk"](INPUTS).relu()
    a, b = ((model[name](hidden)[:, 0] - TARGETS[:, i]) for i, name in enumerate("ab"))
    return a.square().mean(), b.square().mean()


def slots(model: nn.ModuleDict) -> Tensor:
    losses = torch.zeros(2)
    for place, loss in enumerate(apart(model)):
        losses[place] = loss
    return losses


def columns(model: nn.ModuleDict) -> Tensor:
    hidden = model["trunk"](INPUTS).relu()
    predictions = torch.cat([model["a"](hidden), model["b"](hidden)], 1)
    return (predictions - TARGETS).square().mean(0)


def joint_head(model: nn.ModuleDict) -> Tensor:
    return (model["joint"](model["trunk"](INPUTS).relu()) - TARGETS).square().mean(0)


def unbound(model: nn.ModuleDict) -> tuple[Tensor, ...]:
    return torch.stack([torch.stack(apart(model)), torch.zeros(2)]).sum(0).unbind()


WAYS: dict[str, Callable[[nn.ModuleDict], Tensor | tuple[Tensor, ...]]] = {
    "apart": apart,
    "stack": lambda model: torch.stack(apart(model)),
    "slots": slots,
    "columns": columns,
    "unbound": unbound,
}


def record(way: Callable[[nn.ModuleDict], Tensor | tuple[Tensor, ...]], level: str) -> Recorder:
    model = make()
    recorder = Recorder(model, every=1, level=level)  # pyright: ignore[reportArgumentType]
    for _ in range(2):
        recorder.observe(dict(zip("ab", way(model), strict=True)))
    return recorder


@pytest.mark.parametrize("level", ["parameters", "last layer", "representation"])
@pytest.mark.parametrize("way", WAYS)
def test_losses_are_measured_equally_however_they_are_passed(way: str, level: str) -> None:
    expected = record(apart, level).trace().gramians
    gramians = record(WAYS[way], level).trace().gramians
    assert expected is not None
    assert gramians is not None
    assert expected.abs().min() > 1e-4
    assert torch.allclose(gramians, expected, rtol=1e-5)


def test_rows_of_a_joint_head_are_not_shared() -> None:
    model = make()
    recorder = Recorder(model, every=1)
    recorder.observe(dict(zip("ab", joint_head(model), strict=True)))
    named = Recorder(model, "trunk", every=1)
    named.observe(dict(zip("ab", joint_head(model), strict=True)))
    found, expected = recorder.trace().gramians, named.trace().gramians
    assert found is not None
    assert expected is not None
    assert torch.allclose(found, expected)


def test_what_gradients_reach_later_is_found_later() -> None:
    """As in LoRA, whose first factor has a gradient of 0 while the second one is 0."""
    model = make()
    model["second"] = nn.Linear(4, 4)
    nn.init.zeros_(model["second"].weight)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    recorder = Recorder(model, every=1, layers=1)
    for _ in range(2):
        hidden = model["second"](model["trunk"](INPUTS))
        losses = {k: (model[k](hidden)[:, 0] - TARGETS[:, i]).square().mean()
                  for i, k in enumerate("ab")}  # fmt: skip
        recorder.observe(losses)
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
    trace = recorder.trace()
    assert trace.layers == ("second", "trunk")
    assert trace.layer_gramians is not None
    assert trace.layer_gramians[:, :, 0, 1].isnan().tolist() == [[False, True], [False, False]]


def test_a_frozen_trunk_is_recorded_at_its_output() -> None:
    model = make()
    model["trunk"].requires_grad_(requires_grad=False)

    def losses() -> dict[str, Tensor]:
        return dict(zip("ab", apart(model), strict=True))

    recorder = Recorder(model, "trunk", every=1, level="representation")
    recorder.observe(losses(), closure=losses)
    gramians = recorder.trace().gramians
    model["trunk"].requires_grad_(requires_grad=True)
    output = model["trunk"](INPUTS)
    gradients: list[Tensor] = []
    for place, name in enumerate("ab"):
        loss = (model[name](output.relu())[:, 0] - TARGETS[:, place]).square().mean()
        gradients.append(torch.autograd.grad(loss, output, retain_graph=True)[0].flatten())
    stacked = torch.stack(gradients)
    assert gramians is not None
    assert torch.allclose(gramians[0], stacked @ stacked.T)


def test_without_a_closure_a_frozen_trunk_is_explained() -> None:
    model = make()
    model["trunk"].requires_grad_(requires_grad=False)
    recorder = Recorder(model, "trunk", every=1, level="representation")
    with warns("no-representation"):
        recorder.observe(dict(zip("ab", apart(model), strict=True)))


def gradients_at(losses: dict[str, Tensor], parameters: Sequence[Tensor]) -> Tensor:
    rows = [torch.autograd.grad(loss, parameters, retain_graph=True) for loss in losses.values()]
    return torch.stack([torch.cat([part.flatten() for part in row]) for row in rows])


@pytest.mark.parametrize("shared", ["trunk", None])
def test_parameters_that_are_replaced_or_added_are_measured(shared: str | None) -> None:
    torch.manual_seed(0)
    trunk = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4))
    model = nn.ModuleDict({"trunk": trunk, "a": nn.Linear(4, 1), "b": nn.Linear(4, 1)})
    recorder = Recorder(model, shared, every=1, lookahead_every=1)

    def losses() -> dict[str, Tensor]:
        return {task: (model[task](model["trunk"](INPUTS)) - 1).square().mean() for task in "ab"}

    def change(kind: str) -> None:
        if kind == "replace":
            trunk[2] = nn.Linear(4, 4)
        elif kind == "add":
            trunk.append(nn.Linear(4, 4))
        elif kind == "reparametrize":
            nn.utils.parametrizations.weight_norm(trunk[0])
        elif kind == "assign":
            state = {name: value + 0.1 for name, value in model.state_dict().items()}
            model.load_state_dict(state, assign=True)

    for kind in ("", "replace", "add", "reparametrize", "assign"):
        change(kind)
        now = losses()
        gradients = gradients_at(now, list(trunk.parameters()))
        recorder.observe(now, closure=losses)
        gramians = recorder.trace().gramians
        assert gramians is not None
        torch.testing.assert_close(gramians[-1], gradients @ gradients.T, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("shared", ["trunk", "trunk.embedding.*", "first.weight"])
def test_each_name_of_a_tied_parameter_selects_it(shared: str) -> None:
    torch.manual_seed(0)
    model = nn.ModuleDict({"first": nn.Linear(4, 6, bias=False), "trunk": nn.ModuleDict()})
    model["trunk"]["embedding"] = nn.Embedding(6, 4)
    model["trunk"]["embedding"].weight = model["first"].weight
    hidden = model["trunk"]["embedding"](torch.arange(3))
    losses = {"a": hidden.square().mean(), "b": model["first"](hidden).square().mean()}
    gradients = gradients_at(losses, [model["first"].weight])
    recorder = Recorder(model, shared)
    recorder.observe(losses)
    gramians = recorder.trace().gramians
    assert gramians is not None
    torch.testing.assert_close(gramians[0], gradients @ gradients.T)
