import copy
import math
from typing import Any

import pytest
import torch
from codes import warns
from torch import Tensor, nn

from affinity.recording import Recorder, Trace

TASKS = ("depth", "edges", "normals")


class Network(nn.Module):
    def __init__(self, tasks: tuple[str, ...] = TASKS, dropout: float = 0.0) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 6))
        self.dropout = nn.Dropout(dropout)
        self.tasks = tasks
        self.heads = nn.ModuleList(nn.Linear(6, 1) for _ in tasks)

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        representation = self.dropout(self.trunk(inputs))
        return {
            task: (head(representation) - place).square().mean()
            for place, (task, head) in enumerate(zip(self.tasks, self.heads, strict=True))
        }


def made(**settings: object) -> Network:
    torch.manual_seed(0)
    return Network(**settings)  # pyright: ignore[reportArgumentType]


def gradients_of(model: Network, losses: dict[str, Tensor]) -> Tensor:
    shared = list(model.trunk.parameters())
    parts = [
        torch.autograd.grad(loss, shared, retain_graph=True, materialize_grads=True)
        for loss in losses.values()
    ]
    return torch.stack([torch.cat([part.flatten() for part in each]) for each in parts])


def recorded(model: nn.Module, inputs: Tensor, **settings: object) -> Trace:
    recorder = Recorder(model, **{"shared": "trunk", "lookahead_every": 1, **settings})  # pyright: ignore[reportArgumentType]
    recorder.observe(model(inputs), closure=lambda: model(inputs))
    return recorder.trace()


def known(values: Tensor | None) -> Tensor:
    assert values is not None
    return values


@pytest.mark.parametrize(
    "settings", [{}, {"shared": None}, {"memory": 1}, {"memory": 4 * 72 * 2}, {"layers": 2}]
)
def test_gramian_holds_inner_products_of_task_gradients(settings: dict[str, object]) -> None:
    model, inputs = made(), torch.randn(8, 4)
    gradients = gradients_of(model, model(inputs))
    trace = recorded(model, inputs, **settings)
    assert torch.allclose(known(trace.gramians)[0], gradients @ gradients.T, rtol=1e-4)
    assert torch.allclose(trace.gradient_norms()[0], gradients.norm(dim=1), rtol=1e-4)


@pytest.mark.parametrize("settings", [{}, {"memory": 1}, {"sketch": 2}])
def test_lookahead_is_the_loss_after_a_gradient_step(settings: dict[str, object]) -> None:
    model, inputs, rate = made(), torch.randn(8, 4), 0.1
    measured = known(recorded(model, inputs, learning_rate=rate, **settings).lookahead_losses)
    for source, gradient in enumerate(gradients_of(model, model(inputs))):
        stepped = copy.deepcopy(model)
        shared = list(stepped.trunk.parameters())
        flat = nn.utils.parameters_to_vector(shared)
        nn.utils.vector_to_parameters(flat - rate * gradient, shared)
        with torch.no_grad():
            expected = torch.stack(list(stepped(inputs).values()))
        assert torch.allclose(measured[0, source], expected, atol=1e-6)


def test_lookaheads_are_the_same_without_gramians() -> None:
    model, inputs = made(dropout=0.5), torch.randn(8, 4)
    torch.manual_seed(1)
    both = recorded(model, inputs)
    recorder = Recorder(model, "trunk", every=1, gramians=False)
    for _ in range(2):
        torch.manual_seed(1)
        recorder.observe(model(inputs), closure=lambda: model(inputs))
    trace = recorder.trace()
    assert trace.gramians is None
    assert torch.equal(known(trace.lookahead_losses), known(both.lookahead_losses).expand(2, 3, 3))
    assert "Gramians not recorded" in recorder.describe()


OPTIMIZERS = {
    "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    "adam": lambda p: torch.optim.Adam(p, lr=0.1),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.5),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.1),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizers_lookahead_is_the_step_that_it_takes(name: str) -> None:
    model, inputs = made(), torch.randn(8, 4)
    optimizer = OPTIMIZERS[name](model.parameters())
    for _ in range(3):  # fill its state
        optimizer.zero_grad()
        sum(model(inputs).values(), torch.tensor(0.0)).backward()
        optimizer.step()
    trace = recorded(model, inputs, optimizer=optimizer, step="optimizer")
    measured = known(trace.lookahead_losses)[0]
    for source, task in enumerate(TASKS):
        stepped, taken = copy.deepcopy((model, optimizer))
        taken.zero_grad()
        stepped(inputs)[task].backward()
        for head in stepped.heads:
            head.zero_grad()
        taken.step()
        with torch.no_grad():
            expected = torch.stack(list(stepped(inputs).values()))
        assert torch.allclose(measured[source], expected, atol=1e-6)
    assert known(trace.learning_rates).item() == pytest.approx(0.1)


def test_lookahead_shares_dropout_masks() -> None:
    model, inputs = made(dropout=0.5), torch.randn(8, 4)
    trace = recorded(model, inputs, learning_rate=1e-3)  # other masks change losses by far more
    assert not known(trace.predicted).any()
    assert torch.allclose(known(trace.lookahead_losses)[0], trace.losses.expand(3, 3), atol=0.01)


def test_the_learning_rate_follows_the_optimizer() -> None:
    model, inputs = made(), torch.randn(8, 4)
    optimizer = torch.optim.SGD(
        [{"params": model.heads.parameters(), "lr": 7.0}, {"params": model.trunk.parameters()}],
        lr=0.5,
    )
    recorder = Recorder(model, "trunk", every=1, optimizer=optimizer)
    recorder.observe(model(inputs))
    optimizer.param_groups[1]["lr"] = 0.25
    recorder.observe(model(inputs))
    first, last = model.trunk[0].parameters(), model.trunk[2].parameters()
    frozen = [{"params": first, "lr": 0.0}, {"params": last}]  # the first layer, by its rate
    recorder.optimizer = torch.optim.SGD(frozen, lr=0.125)
    recorder.observe(model(inputs))
    assert known(recorder.trace().learning_rates).tolist() == [0.5, 0.25, 0.125]


class Deep(torch.optim.Optimizer):
    """Changes tensors in place that its state and its groups hold in lists and dictionaries."""

    def __init__(self, parameters: Any, lr: float) -> None:
        super().__init__(parameters, {"lr": lr, "count": torch.zeros(())})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # noqa: ARG002  # pyright: ignore
        for group in self.param_groups:
            group["count"] += 1
            for parameter in group["params"]:
                state = self.state[parameter]
                if not state:
                    state["sums"] = [{"of": torch.zeros_like(parameter)}]
                state["sums"][0]["of"] += parameter.grad
                parameter -= group["lr"] * state["sums"][0]["of"]


def test_an_optimizers_lookahead_leaves_all_of_its_state() -> None:
    model, inputs = made(), torch.randn(8, 4)
    optimizer = Deep(model.trunk.parameters(), 0.1)
    sum(model(inputs).values(), torch.tensor(0.0)).backward()
    optimizer.step()
    before = copy.deepcopy(optimizer.state_dict())
    recorded(model, inputs, optimizer=optimizer, step="optimizer")
    torch.testing.assert_close(optimizer.state_dict(), before, rtol=0, atol=0)


def test_a_closure_may_differentiate() -> None:
    model, rate = made(), 0.1
    inputs = torch.randn(8, 4)

    def losses(model: Network, inputs: Tensor) -> dict[str, Tensor]:
        inputs = inputs.clone().requires_grad_()
        energies = model.heads[0](model.trunk(inputs))
        (forces,) = torch.autograd.grad(energies.sum(), inputs, create_graph=True)
        return {"energy": energies.square().mean(), "forces": (forces - 1).square().mean()}

    recorder = Recorder(model, "trunk", lookahead_every=1, learning_rate=rate)
    recorder.observe(losses(model, inputs), closure=lambda: losses(model, inputs))
    exact, inputs = copy.deepcopy(model).double(), inputs.double()
    gradients = gradients_of(exact, losses(exact, inputs))
    trace = recorder.trace()
    torch.testing.assert_close(known(trace.gramians)[0].double(), gradients @ gradients.T)
    shared = list(exact.trunk.parameters())
    flat = nn.utils.parameters_to_vector(shared)
    for source, gradient in enumerate(gradients):
        nn.utils.vector_to_parameters(flat - rate * gradient, shared)
        after = torch.stack(list(losses(exact, inputs).values()))
        measured = known(trace.lookahead_losses)[0, source].double()
        torch.testing.assert_close(measured, after, rtol=1e-5, atol=1e-6)


class Noisy(torch.autograd.Function):
    """Its backward pass draws random numbers."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor) -> Tensor:  # noqa: ARG004
        return inputs.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # noqa: ARG004
        return gradient + 0 * torch.randn_like(gradient)


class NoisyLayer(nn.Module):
    def forward(self, inputs: Tensor) -> Tensor:
        return Noisy.apply(inputs)  # pyright: ignore[reportReturnType]


def test_backward_passes_that_draw_leave_dropout_masks_shared() -> None:
    model, inputs = made(dropout=0.5), torch.randn(8, 4)
    model.trunk.append(NoisyLayer())
    recorder = Recorder(model, "trunk", every=1, lookahead_every=1, learning_rate=1e-3)
    for _ in range(2):
        recorder.observe(model(inputs), closure=lambda: model(inputs))
    trace = recorder.trace()
    assert torch.allclose(known(trace.lookahead_losses), trace.losses[:, None], atol=0.01)


def test_first_order_error_vanishes_with_the_step() -> None:
    model, inputs = made(), torch.randn(8, 4)
    small = recorded(model.double(), inputs.double(), learning_rate=1e-3).first_order_error()
    large = recorded(model, inputs.double(), learning_rate=0.3).first_order_error()
    assert small < 0.01 < 0.1 < large


def test_layers_add_up_to_the_whole() -> None:
    model, inputs = made(), torch.randn(8, 4)
    trace = recorded(model, inputs, layers=2)
    assert trace.layers == ("trunk.0", "trunk.2")
    assert torch.allclose(known(trace.layer_gramians).sum(1), known(trace.gramians))
    weights = nn.utils.parameters_to_vector(model.trunk[2].parameters())
    gradient = torch.autograd.grad(model(inputs)["edges"], list(model.trunk[2].parameters()))
    norm = nn.utils.parameters_to_vector(gradient).norm() / weights.norm()
    assert trace.relative_gradient_norms()[0, 1, 1].item() == pytest.approx(norm.item(), rel=1e-4)


def test_the_representation_is_the_trunks_output() -> None:
    model, inputs = made(), torch.randn(8, 4)
    representation = model.trunk(inputs).detach().requires_grad_()
    losses = [
        (head(representation) - place).square().mean() for place, head in enumerate(model.heads)
    ]
    gradients = torch.stack(
        [torch.autograd.grad(loss, representation)[0].flatten() for loss in losses]
    )
    measured = known(recorded(model, inputs, level="representation").gramians)
    assert torch.allclose(measured[0], gradients @ gradients.T, rtol=1e-4)


def test_the_representation_of_a_frozen_trunk_is_nothing_to_record() -> None:
    model, inputs = made(), torch.randn(8, 4, requires_grad=True)
    model.trunk.requires_grad_(requires_grad=False)
    measured = known(recorded(model, inputs, level="representation", shared=None).gramians)
    assert measured.isfinite().all()  # gradients still reach the trunk's output


def test_the_last_layer_is_the_one_nearest_to_the_losses() -> None:
    model, inputs = made(), torch.randn(8, 4)
    named = recorded(model, inputs, shared="trunk.2")
    found = recorded(model, inputs, level="last layer", shared=None)
    assert torch.equal(known(named.gramians), known(found.gramians))


def test_sources_in_turn_are_exact_and_each_has_its_turn() -> None:
    model, inputs = made(), torch.randn(8, 4)
    whole = recorded(model, inputs)
    recorder = Recorder(model, "trunk", every=1, lookahead_every=1, sources=2)
    for _ in range(3):
        recorder.observe(model(inputs), closure=lambda: model(inputs))
    trace = recorder.trace()
    lookahead, gramians = known(trace.lookahead_losses), known(trace.gramians)
    visits = lookahead[:, :, 0].isfinite()
    assert visits.tolist() == [[True, True, False], [True, False, True], [False, True, True]]
    for step in range(3):
        assert torch.allclose(
            lookahead[step][visits[step]],
            known(whole.lookahead_losses)[0][visits[step]],
            atol=1e-6,
        )
    assert torch.allclose(gramians[0, :2], known(whole.gramians)[0, :2], rtol=1e-4)
    assert gramians[0, 2, 2].isnan()


@pytest.mark.parametrize("method", ["double backward", "forward mode"])
def test_a_sketch_converges_to_the_gramian(method: str) -> None:
    model, inputs = made(), torch.randn(8, 4)
    exact = known(recorded(model, inputs).gramians)[0]
    recorder = Recorder(model, "trunk", every=1, sketch=100, lookahead_every=1000)
    recorder._state.sketch_method = method
    for _ in range(10):
        recorder.observe(model(inputs), closure=lambda: model(inputs))
    trace = recorder.trace()
    error = known(trace.gramians) - exact  # time task task
    stated = trace.gramian_errors()
    assert method in recorder.describe()
    assert (error.mean(0).abs() < 4 * stated.mean(0) / math.sqrt(10)).all()
    spread = (error.square().mean() / stated.square().mean()).sqrt().item()
    assert 0.5 < spread < 1.3  # the stated error is what is seen


def test_what_cannot_be_differentiated_twice_is_sketched_by_forward_mode() -> None:
    class Attending(Network):
        def forward(self, inputs: Tensor) -> dict[str, Tensor]:
            tokens = self.trunk(inputs).view(1, 2, -1, 6)
            attended = nn.functional.scaled_dot_product_attention(tokens, tokens, tokens)
            return {
                task: (head(attended) - place).square().mean()
                for place, (task, head) in enumerate(zip(self.tasks, self.heads, strict=True))
            }

    torch.manual_seed(0)
    model, inputs = Attending(), torch.randn(8, 4)
    exact = known(recorded(model, inputs).gramians)[0]
    recorder = Recorder(model, "trunk", sketch=1000)
    recorder.observe(model(inputs), closure=lambda: model(inputs))
    assert "forward mode" in recorder.describe()
    measured = known(recorder.trace().gramians)[0]
    assert (measured - exact).abs().max() < 0.25 * exact.abs().max()


def test_without_a_closure_it_is_exact_instead() -> None:
    class Once(torch.autograd.Function):
        @staticmethod
        def forward(ctx: object, values: Tensor) -> Tensor:  # noqa: ARG004
            return values.clone()

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx: object, gradient: Tensor) -> Tensor:  # noqa: ARG004
            return gradient

    class Custom(Network):
        def forward(self, inputs: Tensor) -> dict[str, Tensor]:
            return super().forward(Once.apply(inputs @ self.extra))  # pyright: ignore

    torch.manual_seed(0)
    model = Custom()
    model.extra = nn.Parameter(torch.eye(4))
    inputs = torch.randn(8, 4)
    recorder = Recorder(model, ["trunk", "extra"], sketch=4)
    recorder.observe(model(inputs))
    trace = recorder.trace()
    assert known(trace.directions).item() == 0
    assert "differentiated neither twice nor forward" in recorder.describe()


def test_many_tasks_are_sketched_without_being_asked() -> None:
    tasks = tuple(f"task {number}" for number in range(30))
    model, inputs = made(tasks=tasks), torch.randn(8, 4)
    trace = recorded(model, inputs)
    assert known(trace.directions).item() == 8
    assert known(trace.lookahead_losses)[0, :, 0].isfinite().sum() == 8


def test_an_absent_task_is_missing() -> None:
    model, inputs = made(), torch.randn(8, 4)
    recorder = Recorder(model, "trunk", tasks=TASKS, every=1, lookahead_every=1)

    def some() -> dict[str, Tensor]:
        losses = model(inputs)
        return {task: losses[task] for task in ("depth", "normals")}

    recorder.observe(some(), closure=some)
    trace = recorder.trace()
    assert trace.losses[0].isnan().tolist() == [False, True, False]
    for values in (known(trace.gramians)[0], known(trace.lookahead_losses)[0]):
        assert values.isfinite()[[0, 0, 2, 2], [0, 2, 0, 2]].all()
        assert values[1].isnan().all()
        assert values[:, 1].isnan().all()


@pytest.mark.parametrize("settings", [{}, {"sketch": 4}])
def test_a_batch_without_a_label_of_a_task_is_missing_not_zero(
    settings: dict[str, object],
) -> None:
    model, inputs = made(), torch.randn(8, 4)

    def losses() -> dict[str, Tensor]:
        all_losses = model(inputs)
        return {**all_losses, "edges": 0 * all_losses["edges"]}

    recorder = Recorder(model, "trunk", lookahead_every=1, **settings)  # pyright: ignore
    recorder.observe(losses(), closure=losses)
    trace = recorder.trace()
    assert trace.losses[0].isnan().tolist() == [False, True, False]
    assert known(trace.gramians)[0, 1].isnan().all()
    assert known(trace.gramians)[0, 0, 2].isfinite()
    assert known(trace.lookahead_losses)[0, :, 1].isnan().all()


def test_a_nan_loss_is_missing_with_a_warning() -> None:
    model, inputs = made(), torch.randn(8, 4)
    recorder = Recorder(model, "trunk", every=1, after=1)
    recorder.observe(model(inputs))
    losses = model(inputs)
    losses["edges"] = losses["edges"] * torch.inf
    with warns("loss-not-finite"):
        recorder.observe(losses)
    gramian = known(recorder.trace().gramians)[0]
    assert gramian[1].isnan().all()
    assert gramian[0, 2].isfinite()


def test_tasks_may_have_batches_of_their_own() -> None:
    model = made(dropout=0.5)
    batches = {task: torch.randn(8, 4) for task in TASKS}
    functions = {task: lambda task=task: model(batches[task])[task] for task in TASKS}
    state = torch.get_rng_state()
    together = torch.stack([gradients_of(model, {task: functions[task]()})[0] for task in TASKS])
    del together  # dropout masks differ from one evaluation to the next
    torch.set_rng_state(state)
    model.eval()
    gradients = torch.cat([gradients_of(model, {task: functions[task]()}) for task in TASKS])
    recorder = Recorder(model, "trunk", lookahead_every=1)
    recorder.observe(functions)
    trace = recorder.trace()
    assert torch.allclose(known(trace.gramians)[0], gradients @ gradients.T, rtol=1e-4)
    assert known(trace.lookahead_losses).isfinite().all()
    assert torch.equal(torch.get_rng_state(), state)
    found = Recorder(model, None)
    found.observe(functions)
    assert torch.allclose(known(found.trace().gramians), known(trace.gramians), rtol=1e-4)
