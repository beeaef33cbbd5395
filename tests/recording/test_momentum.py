"""Products with the momentum that the run's optimizer carries along."""

import copy

import pytest
import torch
from torch import Tensor, nn

from affinity.estimates import FirstOrderAffinity, MomentumAffinity
from affinity.recording import Recorder
from affinity.recording.momentum import carried_momentum

CARRYING = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9),
    "dampened": lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9, dampening=0.5),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, betas=(0.5, 0.9)),
    "ascent": lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9, maximize=True),
    "adam's ascent": lambda p: torch.optim.Adam(p, lr=0.01, maximize=True),
}
DECAY = {"adamw": 0.5}  # of others, 0.9


class Network(nn.Module):
    def __init__(self, n_tasks: int = 3) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.trunk = nn.Linear(4, 5)
        self.heads = nn.ModuleList(nn.Linear(5, 1) for _ in range(n_tasks))

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        shared = self.trunk(inputs).tanh()
        return {
            f"task {at}": (head(shared) - at).square().mean() for at, head in enumerate(self.heads)
        }


def train(name, steps, n_tasks=3, **settings):
    """A run watched by a recorder; every gradient of the trunk, and the trace."""
    model = Network(n_tasks)
    optimizer = CARRYING[name](model.parameters())
    recorder = Recorder(model, "trunk", every=1, optimizer=optimizer, **settings)
    generator = torch.Generator().manual_seed(1)
    past, products = [], []
    for _ in range(steps):
        inputs = torch.randn(8, 4, generator=generator)
        losses = model(inputs)
        recorder.observe(losses, closure=lambda inputs=inputs: model(inputs))
        shared = list(model.trunk.parameters())
        parts = [torch.autograd.grad(loss, shared, retain_graph=True) for loss in losses.values()]
        gradients = torch.stack([torch.cat([part.flatten() for part in each]) for each in parts])
        momentum = sum(
            (DECAY.get(name, 0.9) ** (len(past) - at) * each for at, each in enumerate(past)),
            torch.zeros(gradients.shape[1]),
        )
        products.append(gradients @ momentum)
        optimizer.zero_grad()
        sum(losses.values(), torch.tensor(0.0)).backward()
        past.append(torch.cat([p.grad.flatten() for p in shared]))
        optimizer.step()
    return recorder.trace(), torch.stack(products)


@pytest.mark.parametrize("settings", [{}, {"memory": 1}, {"layers": 1}, {"sketch": 2}])
@pytest.mark.parametrize("name", ["adam", "adamw", "sgd", "ascent", "adam's ascent"])
def test_momentum_is_the_decayed_sum_of_earlier_gradients(name, settings):
    trace, products = train(name, 4, **settings)
    torch.testing.assert_close(trace.momentum_products, products, rtol=1e-3, atol=1e-5)
    assert trace.momentum_products[0].abs().max() == 0
    assert trace.momentum_products[-1].abs().min() > 0


def test_dampening_scales_all_but_the_first_gradient():
    model = nn.Linear(2, 1, bias=False)
    optimizer = CARRYING["dampened"](model.parameters())
    gradients = torch.randn(3, 1, 2)
    for gradient in gradients:
        model.weight.grad = gradient.clone()
        optimizer.step()
    carried = carried_momentum(optimizer, [model.weight])
    assert carried is not None
    (momentum,) = carried.dense([model.weight])
    # torch starts the buffer from the whole first gradient, whatever the dampening
    expected = 0.9 * gradients[2] + 0.81 * gradients[1] + 0.729 * gradients[0] / 0.5
    torch.testing.assert_close(momentum, expected)


def test_many_tasks_have_their_momentum_exactly_beside_the_sketch():
    trace, products = train("adam", 3, n_tasks=14)
    assert trace.directions.tolist() == [8, 8, 8]
    torch.testing.assert_close(trace.momentum_products, products, rtol=1e-3, atol=1e-5)


def test_sources_in_turn_leave_no_momentum_out():
    trace, products = train("adam", 3, sources=1)
    torch.testing.assert_close(trace.momentum_products, products, rtol=1e-3, atol=1e-5)


def test_etap_is_the_fall_of_the_loss_by_the_optimizers_own_small_step():
    """With SGD the momentum is in the step itself, so that the lookahead tells the truth."""
    model = Network().double()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)
    recorder = Recorder(
        model, "trunk", every=1, lookahead_every=1, step="optimizer", optimizer=optimizer
    )
    for seed in range(4):
        inputs = torch.randn(8, 4, generator=torch.Generator().manual_seed(seed)).double()
        losses = model(inputs)
        recorder.observe(losses, closure=lambda inputs=inputs: model(inputs))
        optimizer.zero_grad()
        sum(losses.values(), torch.tensor(0.0)).backward()
        optimizer.step()
    trace = recorder.trace()
    fell = 1 - trace.lookahead_losses / trace.losses[:, None, :]
    torch.testing.assert_close(
        MomentumAffinity()(trace).values, fell.double().mean(dim=0), rtol=2e-2, atol=2e-6
    )
    assert trace.optimizer_steps.all()


@pytest.mark.parametrize(
    "make",
    [
        lambda p: torch.optim.RMSprop(p, lr=0.1, momentum=0.9),
        lambda p: torch.optim.Adagrad(p, lr=0.1),
        lambda p: torch.optim.SGD([copy.deepcopy(next(iter(p)))], lr=0.1),
        lambda _: None,
    ],
)
def test_momentum_that_is_not_known_is_not_recorded(make):
    model, inputs = Network(), torch.randn(8, 4)
    recorder = Recorder(model, "trunk", learning_rate=0.1, optimizer=make(model.parameters()))
    recorder.observe(model(inputs))
    assert recorder.trace().momentum_products is None


def test_an_optimizer_without_momentum_carries_nothing():
    model, inputs = Network(), torch.randn(8, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    recorder = Recorder(model, "trunk", every=1, optimizer=optimizer)
    for _ in range(2):
        losses = model(inputs)
        recorder.observe(losses)
        sum(losses.values(), torch.tensor(0.0)).backward()
        optimizer.step()
    trace = recorder.trace()
    assert (trace.momentum_products == 0).all()
    torch.testing.assert_close(MomentumAffinity()(trace).values, FirstOrderAffinity()(trace).values)
