"""Lookaheads whose step is lost in rounding are replaced by what the gradients predict."""

import torch
from codes import warns
from torch import Tensor, nn

from affinity.estimates import FirstOrderAffinity, InterTaskAffinity
from affinity.recording import Recorder, Trace


def run(rate: float, dtype: torch.dtype = torch.float32, **settings: object) -> Trace:
    torch.manual_seed(0)
    model = nn.ModuleDict({"trunk": nn.Linear(3, 3), "a": nn.Linear(3, 1), "b": nn.Linear(3, 1)})
    model.to(dtype)
    recorder = Recorder(model, "trunk", every=1, learning_rate=rate, **settings)  # pyright: ignore
    inputs = torch.randn(64, 3, dtype=dtype)

    def losses() -> dict[str, Tensor]:
        hidden = model["trunk"](inputs).tanh()
        return {t: (model[t](hidden).float() - 1).square().mean() for t in "ab"}

    recorder.observe(losses(), closure=losses)
    return recorder.trace()


def test_a_step_below_the_resolution_is_predicted() -> None:
    for rate, dtype in ((1e-9, torch.float32), (1e-3, torch.bfloat16)):
        with warns("lookahead-below-precision"):
            trace = run(rate, dtype)
        assert trace.predicted is not None
        assert trace.predicted.all()
        lookahead, first = InterTaskAffinity()(trace), FirstOrderAffinity()(trace)
        assert torch.allclose(lookahead.values, first.values, rtol=1e-4)


def test_a_large_step_is_measured() -> None:
    trace = run(0.1)
    assert trace.predicted is not None
    assert not trace.predicted.any()
    assert trace.first_order_error() > 1e-4  # curvature


def test_without_a_prediction_it_is_missing() -> None:
    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-9)
    recorder = Recorder(
        model, every=1, shared=model, optimizer=optimizer, step="optimizer", gramians=False
    )

    def losses() -> dict[str, Tensor]:
        output = model(torch.ones(1, 2))
        return {"a": output.square().sum(), "b": (output - 1).square().sum()}

    with warns("lookahead-below-precision"):
        recorder.observe(losses(), closure=losses)
        trace = recorder.trace()
    assert trace.lookahead_losses is not None
    assert trace.lookahead_losses.isnan().all()
