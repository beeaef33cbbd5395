"""With noisy gradients of known distribution, only cross-batch products are unbiased."""

import pytest
import torch
from codes import raises
from torch import Tensor, nn

from affinity.recording import Recorder, Trace

SIZE, NOISE, N_BATCHES = 20, 2.0, 400


class Linear(nn.Module):
    """Losses whose gradient on the shared vector is a chosen mean plus noise of the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Parameter(torch.zeros(SIZE))

    def losses(self, batch: Tensor) -> dict[str, Tensor]:
        return {"a": self.shared @ batch[0], "b": self.shared @ batch[1]}


def batch_of(mean: Tensor) -> Tensor:
    common = NOISE * torch.randn(SIZE)  # two tasks on the same rows share their noise
    return mean + common + 0.1 * torch.randn(2, SIZE)


def test_held_out_gramians_are_unbiased_and_same_batch_ones_are_not() -> None:
    torch.manual_seed(0)
    mean = torch.zeros(2, SIZE)
    mean[0, 0], mean[1, 1] = 3.0, 2.0  # orthogonal: the true inner product is 0
    model = Linear()
    recorder = Recorder(model, "shared", every=1, lookahead_every=1, learning_rate=0.1)
    for _ in range(N_BATCHES):
        here, there = batch_of(mean), batch_of(mean)
        recorder.observe(
            model.losses(here),
            closure=lambda here=here: model.losses(here),
            held_out=lambda there=there: model.losses(there),
        )
    trace = recorder.trace()
    assert trace.gramians is not None
    assert trace.held_out_gramians is not None
    truth = mean @ mean.T
    error = trace.held_out_gramians.std(0) / N_BATCHES**0.5
    assert ((trace.held_out_gramians.mean(0) - truth).abs() < 4 * error).all()
    same = trace.gramians.mean(0)
    assert same[0, 1] > 0.8 * NOISE**2 * SIZE  # all of it noise
    # The diagonal gives the signal's norm without the noise's.
    assert (trace.held_out_gramians.mean(0).diagonal() - truth.diagonal()).abs().max() < 4
    assert (same.diagonal() - truth.diagonal()).min() > 0.8 * NOISE**2 * SIZE
    # Losses are linear, so the lookahead on the held-out batch predicts exactly the same.
    assert trace.held_out_losses is not None
    assert trace.held_out_lookahead_losses is not None
    fell = trace.held_out_losses[:, None, :] - trace.held_out_lookahead_losses
    assert torch.allclose(fell, 0.1 * trace.held_out_gramians, rtol=1e-3, atol=1e-3)


def test_a_sketch_uses_the_same_directions_on_both_batches() -> None:
    torch.manual_seed(0)
    model, batch = Linear(), torch.randn(2, SIZE)
    recorder = Recorder(model, "shared", sketch=4)
    recorder.observe(model.losses(batch), held_out=lambda: model.losses(batch))
    trace = recorder.trace()
    assert trace.gramians is not None
    assert trace.held_out_gramians is not None
    assert torch.allclose(trace.gramians, trace.held_out_gramians)


def gradients_of(model: Linear, batch: Tensor) -> Tensor:
    losses = model.losses(batch).values()
    return torch.stack([torch.autograd.grad(loss, model.shared)[0] for loss in losses])


def accumulate(
    recorder: Recorder, model: Linear, batches: Tensor, every: int, *, has_closure: bool = True
) -> None:
    """A loop that makes a step of the optimizer after every `every` micro-batches."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for number, batch in enumerate(batches):
        losses = model.losses(batch)
        closure = (lambda batch=batch: model.losses(batch)) if has_closure else None
        recorder.observe(losses, closure=closure)
        (sum(losses.values(), torch.tensor(0.0)) / every).backward()
        if (number + 1) % every == 0:
            optimizer.step()
            optimizer.zero_grad()


@pytest.mark.parametrize("sketch", [0, 400])
def test_the_next_micro_batch_is_held_out(sketch: int) -> None:
    torch.manual_seed(0)
    model, batches = Linear(), torch.randn(12, 2, SIZE)
    recorder = Recorder(
        model, "shared", every=3, held_out="micro-batch", lookahead_every=1, learning_rate=0.1,
        sketch=sketch,
    )  # fmt: skip
    accumulate(recorder, model, batches, every=4)
    trace = recorder.trace()
    # At 3, the optimizer makes a step before the next micro-batch: so it begins again at 4.
    assert trace.steps.tolist() == [0, 4, 6, 9]
    for products, lookahead, losses, step in zip(*parts(trace), trace.steps, strict=True):
        sources, targets = (gradients_of(model, batches[step + ahead]) for ahead in (0, 1))
        tolerance = 1e-4 if not sketch else 5 * SIZE / sketch**0.5
        assert torch.allclose(products, sources @ targets.T, atol=tolerance)
        fell = losses[None, :] - lookahead  # exactly as predicted, since losses are linear
        assert torch.allclose(fell, 0.1 * sources @ targets.T, atol=1e-3)


def parts(trace: Trace) -> tuple[Tensor, Tensor, Tensor]:
    assert trace.held_out_gramians is not None
    assert trace.held_out_lookahead_losses is not None
    assert trace.held_out_losses is not None
    return trace.held_out_gramians, trace.held_out_lookahead_losses, trace.held_out_losses


def test_a_micro_batch_is_held_out_without_a_closure() -> None:
    model, batches = Linear(), torch.randn(4, 2, SIZE)
    recorder = Recorder(model, "shared", every=2, held_out="micro-batch")
    accumulate(recorder, model, batches, every=2, has_closure=False)
    trace = recorder.trace()
    assert trace.steps.tolist() == [0, 2]
    assert trace.held_out_gramians is not None
    expected = gradients_of(model, batches[0]) @ gradients_of(model, batches[1]).T
    assert torch.allclose(trace.held_out_gramians[0], expected, atol=1e-4)


def test_without_accumulation_no_micro_batch_can_be_held_out() -> None:
    model = Linear()
    recorder = Recorder(model, "shared", held_out="micro-batch")
    with raises("no-accumulation"):
        accumulate(recorder, model, torch.randn(4, 2, SIZE), every=1)


def test_gradients_that_do_not_fit_into_memory_until_then_are_refused() -> None:
    model = Linear()
    recorder = Recorder(model, "shared", held_out="micro-batch", memory=4 * SIZE)
    with raises("memory-too-small"):
        recorder.observe(model.losses(torch.randn(2, SIZE)))


def test_a_resumed_run_takes_up_the_micro_batch_that_it_waits_for() -> None:
    model, batch = Linear(), torch.randn(2, SIZE)
    first, resumed = (Recorder(model, "shared", every=5, held_out="micro-batch") for _ in range(2))
    first.observe(model.losses(batch))
    resumed.load_state_dict(first.state_dict())
    for _ in range(2):  # not due, but the measurement was begun
        resumed.observe(model.losses(batch))
    assert resumed.trace().steps.tolist() == [1]


def test_a_layer_that_freezes_between_micro_batches_begins_a_new_measurement() -> None:
    torch.manual_seed(0)
    trunk = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model = nn.ModuleDict({"trunk": trunk, "a": nn.Linear(3, 1), "b": nn.Linear(3, 1)})
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    recorder = Recorder(model, "trunk", every=1, held_out="micro-batch")
    for micro_batch in range(8):
        trunk[0].requires_grad_(micro_batch < 3)
        hidden = trunk(torch.randn(4, 3))
        losses = {task: model[task](hidden).square().mean() for task in "ab"}
        recorder.observe(losses)
        sum(losses.values(), torch.tensor(0.0)).backward()
        if micro_batch % 2:
            optimizer.step()
    assert recorder.trace().steps.tolist() == [0, 4, 6]
