"""Batches that hold some of the tasks: pairs are measured across consecutive steps."""

import pytest
import torch
from codes import warns
from torch import Tensor, nn

from affinity.recording import Recorder

TASKS = ("a", "b", "c")


def run(order: list[str], *, every: int = 1, shared: str | None = "trunk") -> Recorder:
    """Record a run without steps, so that pairs across steps equal those of one batch."""
    torch.manual_seed(0)
    model = nn.ModuleDict({"trunk": nn.Linear(3, 3), **{t: nn.Linear(3, 1) for t in TASKS}})
    recorder = Recorder(model, shared, tasks=TASKS, every=every, lookahead_every=1)
    inputs = torch.ones(2, 3)
    for tasks in order:

        def losses(tasks: str = tasks) -> dict[str, Tensor]:
            return {t: model[t](model["trunk"](inputs).tanh()).square().mean() for t in tasks}

        recorder.observe(losses(), closure=losses)
    return recorder


@pytest.mark.parametrize("order", [["a", "b", "c"] * 3, ["a", "a", "bc", "a", "b", "c", "a", "b"]])
@pytest.mark.parametrize("shared", ["trunk", None])
def test_pairs_across_batches_are_those_of_one_batch(order: list[str], shared: str | None) -> None:
    expected, trace = run(["abc"]).trace(), run(order, shared=shared).trace()
    assert expected.gramians is not None
    assert expected.lookahead_losses is not None
    assert trace.gramians is not None
    assert trace.lookahead_losses is not None
    assert trace.losses.isnan().any()
    for values, known in (
        (trace.gramians, expected.gramians),
        (trace.lookahead_losses, expected.lookahead_losses),
    ):
        assert values.isfinite().any(dim=0).all()
        known = known.expand_as(values)
        assert torch.allclose(values[values.isfinite()], known[values.isfinite()], rtol=1e-5)


def test_a_round_spans_consecutive_steps_and_ends() -> None:
    trace = run(["a", "b", "c"] * 8, every=12).trace()
    assert trace.steps.tolist() == [0, 1, 2, 3, 4, 12, 13, 14, 15, 16]


def test_a_run_without_a_pair_says_so() -> None:
    with warns("no-pairs"):
        run(["a"] * 3).trace()


def test_absent_tasks_are_missing_and_warned_of_once() -> None:
    model = nn.ModuleDict({"trunk": nn.Linear(3, 3), **{t: nn.Linear(3, 1) for t in TASKS}})
    recorder = Recorder(model, "trunk", every=1)

    def losses() -> dict[str, Tensor | None]:
        known = {t: model[t](model["trunk"](torch.ones(2, 3))).square().mean() for t in "ab"}
        return {**known, "c": None}

    with warns("absent-task"):
        recorder.observe(losses())
    recorder.observe(losses(), closure=losses)
    recorder.observe({**losses(), "c": torch.tensor(0.0)}, closure=losses)
    trace = recorder.trace()
    assert trace.losses.isnan().tolist() == [[False, False, True]] * 3
