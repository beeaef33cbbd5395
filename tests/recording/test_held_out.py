"""With noisy gradients of known distribution, only cross-batch products are unbiased."""

import torch
from torch import Tensor, nn

from affinity.recording import Recorder

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
    # Losses are linear, so the lookahead on the held-out batch foretells exactly the same.
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
