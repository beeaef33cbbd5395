import re
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from codes import raises, warns
from torch import Tensor, nn

from affinity.errors import AffinityWarning
from affinity.recording import Recorder, Trace
from affinity.recording.batch import check_loss


@pytest.fixture
def model() -> nn.ModuleDict:
    torch.manual_seed(0)
    return nn.ModuleDict({"trunk": nn.Linear(3, 3), "a": nn.Linear(3, 1), "b": nn.Linear(3, 1)})


def losses_of(model: nn.ModuleDict) -> dict[str, Tensor]:
    inputs = torch.ones(2, 3)
    return {name: model[name](model["trunk"](inputs)).square().mean() for name in "ab"}


LOSSES: dict[str, tuple[Callable[[dict[str, Tensor]], Any], str]] = {
    "none": (lambda losses: {}, "no-losses"),  # noqa: ARG005
    "no scalar": (lambda losses: {"a": losses["a"].expand(2)}, "no-scalar"),
    "detached": (lambda losses: {"a": losses["a"].detach()}, "no-graph"),
}


@pytest.mark.parametrize("name", LOSSES)
def test_losses_that_cannot_be_used_are_refused(model: nn.ModuleDict, name: str) -> None:
    change, code = LOSSES[name]
    with raises(code):
        Recorder(model, "trunk").observe(change(losses_of(model)))


def test_an_empty_name_is_refused(model: nn.ModuleDict) -> None:
    with raises("empty-task-name"):
        Recorder(model, "trunk").observe({"": losses_of(model)["a"]})


def test_one_text_is_no_list_of_names(model: nn.ModuleDict) -> None:
    with raises("not-a-task-name"):
        Recorder(model, "trunk", tasks="ab")


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_losses_with_their_graph_may_be_observed_without_gradients(
    model: nn.ModuleDict, mode: Callable[[], Any]
) -> None:
    def closure() -> dict[str, Tensor]:
        return losses_of(model)

    traces: list[Trace] = []
    for each in (nullcontext, mode):
        recorder = Recorder(model, "trunk", lookahead_every=1)
        losses = losses_of(model)
        with each():
            recorder.observe(losses, closure=closure, held_out=closure)
        traces.append(recorder.trace())
    for name in ("gramians", "lookahead_losses", "held_out_gramians"):
        assert torch.equal(getattr(traces[0], name), getattr(traces[1], name))


def test_an_optimizer_without_a_learning_rate_makes_a_usual_step(model: nn.ModuleDict) -> None:
    optimizer = torch.optim.SGD(model.parameters())
    optimizer.param_groups[0]["lr"] = None  # as in Adafactor with relative steps
    recorder = Recorder(model, "trunk", optimizer=optimizer)
    with warns("no-learning-rate"):
        recorder.observe(losses_of(model))
    rates = recorder.trace().learning_rates
    assert rates is not None
    assert rates.tolist() == pytest.approx([0.001])


def test_a_number_is_no_loss() -> None:
    with raises("no-tensor"):
        check_loss("a", 0.5)


def test_a_new_task_is_refused(model: nn.ModuleDict) -> None:
    recorder = Recorder(model, "trunk", every=1)
    losses = losses_of(model)
    recorder.observe(losses)
    with raises("unknown-task"):
        recorder.observe({"c": losses["a"]})


def observe_twice(recorder: Recorder, losses: Callable[[], dict[str, Tensor]]) -> None:
    recorder.observe(losses())
    recorder.observe(losses())


def test_a_task_apart_from_the_shared_part_causes_one_warning(
    model: nn.ModuleDict,
) -> None:
    recorder = Recorder(model, "trunk", every=1)

    def apart() -> dict[str, Tensor]:
        return {**losses_of(model), "b": model["b"].weight.square().sum()}

    with pytest.warns(AffinityWarning) as warned:
        observe_twice(recorder, apart)
    (warning,) = warned
    assert isinstance(warning.message, AffinityWarning)
    assert warning.message.code == "unreached-shared-part"
    gramians = recorder.trace().gramians
    assert gramians is not None
    assert gramians[:, 0, 0].isfinite().all()
    assert gramians[:, 1].isnan().all()


def test_a_closure_of_other_tasks_is_refused(model: nn.ModuleDict) -> None:
    with raises("different-closure"):
        Recorder(model, "trunk").observe(
            losses_of(model), closure=lambda: {"a": losses_of(model)["a"]}
        )


def test_a_closure_of_what_was_computed_before_is_refused(model: nn.ModuleDict) -> None:
    inputs = torch.ones(2, 3)
    hidden = model["trunk"](inputs)

    def heads() -> dict[str, Tensor]:
        return {name: model[name](hidden).square().mean() for name in "ab"}

    losses = losses_of(model)
    for closure in (lambda: losses, heads):
        with raises("unchanged-losses"):
            Recorder(model, "trunk").observe(losses, closure=closure)


def test_parameters_that_do_not_exist_yet_are_refused(model: nn.ModuleDict) -> None:
    model["trunk"] = nn.LazyLinear(3)
    with raises("lazy-parameters"):
        Recorder(model, "trunk").observe({"a": lambda: losses_of(model)["a"]})


def total_in_place(losses: dict[str, Tensor]) -> dict[str, Tensor]:
    total = losses["a"]
    total += losses["b"]
    return losses


@pytest.mark.parametrize(
    ("change", "task"),
    [
        (lambda losses: {**losses, "sum": (losses["a"] + 0.5 * losses["b"]) / 2}, "sum"),
        (lambda losses: {**losses, "mean": torch.stack([*losses.values()]).mean()}, "mean"),
        (total_in_place, "a"),
    ],
)
def test_a_sum_of_other_losses_is_warned_of(
    model: nn.ModuleDict, change: Callable[[dict[str, Tensor]], dict[str, Tensor]], task: str
) -> None:
    recorder = Recorder(model, "trunk")
    with warns("sum-of-losses"):
        recorder.observe(change(losses_of(model)))
    summary = recorder.trace().recording
    assert summary is not None
    assert [note.split()[-1] for note in summary.notes] == [f"{task}."]


def test_a_closure_of_another_batch_is_refused(model: nn.ModuleDict) -> None:
    def doubled() -> dict[str, Tensor]:
        return {task: 2 * loss for task, loss in losses_of(model).items()}

    with raises("different-closure"):
        Recorder(model, "trunk").observe(losses_of(model), closure=doubled)


class Warming(nn.Linear):
    """Its output grows with every forward pass, as `spectral_norm`'s approaches its limit."""

    def __init__(self) -> None:
        super().__init__(3, 3)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        self.calls += 1
        return super().forward(input) * self.calls.item()


def test_a_closure_whose_forward_pass_moves_buffers_may_give_other_values(
    model: nn.ModuleDict,
) -> None:
    model["trunk"] = Warming()
    recorder = Recorder(model, "trunk", every=1)
    recorder.observe(losses_of(model), closure=lambda: losses_of(model))
    assert len(recorder.trace()) == 1


def test_batch_normalization_does_not_hide_a_closure_of_another_batch(
    model: nn.ModuleDict,
) -> None:
    model["trunk"] = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    inputs = torch.randn(8, 3)

    def losses(scale: float = 1.0) -> dict[str, Tensor]:
        shared = model["trunk"](inputs)
        return {name: scale * model[name](shared).square().mean() for name in "ab"}

    with raises("different-closure"):
        Recorder(model, "trunk").observe(losses(), closure=lambda: losses(2.0))


def test_with_dropout_the_closure_may_give_other_values(model: nn.ModuleDict) -> None:
    def dropped() -> dict[str, Tensor]:
        scale = nn.functional.dropout(torch.ones(()), 0.5)
        return {task: scale * loss + loss for task, loss in losses_of(model).items()}

    recorder = Recorder(model, "trunk")
    recorder.observe(dropped(), closure=dropped)
    assert len(recorder.trace()) == 1


@pytest.mark.parametrize("shared", ["tronk", "trunk.?", re.compile("^x"), nn.Linear(1, 1)])
def test_a_name_that_matches_nothing_is_refused(model: nn.ModuleDict, shared: object) -> None:
    with raises("unknown-shared-part"):
        Recorder(model, shared).observe(losses_of(model))  # pyright: ignore[reportArgumentType]


SHARED: dict[str, Callable[[nn.ModuleDict], Any]] = {
    "a module": lambda model: model["trunk"],
    "a name": lambda model: "trunk",  # noqa: ARG005
    "a glob": lambda model: "t*.*",  # noqa: ARG005
    "a pattern": lambda model: re.compile("^trunk"),  # noqa: ARG005
    "names": lambda model: ["trunk.weight", "trunk.bias"],  # noqa: ARG005
    "parameters": lambda model: model["trunk"].parameters(),
    "nothing": lambda model: None,  # noqa: ARG005
}


@pytest.mark.parametrize("name", SHARED)
def test_what_is_shared_is_named_or_found(model: nn.ModuleDict, name: str) -> None:
    recorder = Recorder(model, SHARED[name](model))
    recorder.observe(losses_of(model))
    assert "12 numbers in 2 parameters of trunk." in recorder.describe()


def test_losses_that_share_nothing_are_refused(model: nn.ModuleDict) -> None:
    losses = {name: model[name].weight.square().sum() for name in "ab"}
    with raises("nothing-shared"):
        Recorder(model).observe(losses)


@pytest.mark.parametrize("shared", ["trunk", None])
def test_a_frozen_trunk_is_recorded_once_it_thaws(model: nn.ModuleDict, shared: str | None) -> None:
    model["trunk"].requires_grad_(requires_grad=False)
    recorder = Recorder(model, shared, every=1)
    with warns("frozen-shared-part"):
        recorder.observe(losses_of(model))
    recorder.observe(losses_of(model))
    model["trunk"].requires_grad_(requires_grad=True)
    recorder.observe(losses_of(model))
    assert recorder.trace().steps.tolist() == [2]


@pytest.mark.filterwarnings("ignore::affinity.AffinityWarning")
def test_a_task_whose_head_is_frozen_with_the_trunk_does_not_end_the_run(
    model: nn.ModuleDict,
) -> None:
    model["trunk"].requires_grad_(requires_grad=False)
    model["a"].requires_grad_(requires_grad=False)  # its loss has no graph
    recorder = Recorder(model, "trunk", every=1)
    recorder.observe(losses_of(model))
    model.requires_grad_(requires_grad=True)
    recorder.observe(losses_of(model))
    assert recorder.trace().steps.tolist() == [1]


def test_a_layer_that_thaws_is_measured_from_then_on(model: nn.ModuleDict) -> None:
    model["low"] = nn.Linear(3, 3).requires_grad_(requires_grad=False)

    def losses() -> dict[str, Tensor]:
        hidden = model["trunk"](model["low"](torch.ones(2, 3)).relu())
        return {name: model[name](hidden).square().mean() for name in "ab"}

    recorder = Recorder(model, ["trunk", "low"], every=1, layers=1)
    recorder.observe(losses())
    model["low"].requires_grad_(requires_grad=True)
    recorder.observe(losses())
    trace = recorder.trace()
    assert trace.layers == ("trunk", "low")
    assert trace.layer_gramians is not None
    assert trace.layer_gramians[:, :, 0, 1].isnan().tolist() == [[False, True], [False, False]]


def test_an_optimizer_of_other_parameters_is_refused(model: nn.ModuleDict) -> None:
    optimizer = torch.optim.SGD(model["a"].parameters(), lr=0.1)
    with raises("foreign-optimizer"):
        Recorder(model, "trunk", optimizer=optimizer).observe(losses_of(model))


CLOSURES: dict[str, tuple[Callable[[dict[str, Tensor]], Any], str]] = {
    "nothing": (lambda losses: None, "no-mapping"),  # noqa: ARG005
    "a tuple": (lambda losses: tuple(losses.values()), "no-mapping"),
    "no scalars": (
        lambda losses: {task: loss.expand(2) for task, loss in losses.items()},
        "no-scalar",
    ),
}


@pytest.mark.parametrize("name", CLOSURES)
def test_closures_that_cannot_be_used_are_refused(model: nn.ModuleDict, name: str) -> None:
    change, code = CLOSURES[name]
    with raises(code):
        Recorder(model, "trunk").observe(losses_of(model), closure=lambda: change(losses_of(model)))


@pytest.mark.parametrize("settings", [{}, {"sketch": 2}])
def test_losses_of_a_freed_graph_are_refused(
    model: nn.ModuleDict, settings: dict[str, Any]
) -> None:
    losses = losses_of(model)
    sum(losses.values(), torch.tensor(0.0)).backward()
    with raises("freed-graph"):
        Recorder(model, "trunk", **settings).observe(losses)


def test_losses_from_before_the_optimizers_step_are_refused(model: nn.ModuleDict) -> None:
    losses = losses_of(model)
    sum(losses.values(), torch.tensor(0.0)).backward(retain_graph=True)
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    with raises("changed-graph"):
        Recorder(model, "trunk").observe(losses)


SETTINGS: dict[str, tuple[dict[str, Any], str]] = {
    "lookahead_every": ({"lookahead_every": 0}, "out-of-range"),
    "memory": ({"memory": 0}, "out-of-range"),
    "a layer of no depth": ({"layers": 0}, "out-of-range"),
    "sources": ({"sources": 0}, "out-of-range"),
    "rate": ({"learning_rate": 0.0}, "out-of-range"),
    "sketch": ({"sketch": -1}, "out-of-range"),
    "step": ({"step": "optimizer"}, "missing-optimizer"),
    "layers": ({"layers": 1, "level": "representation"}, "conflicting-settings"),
    "exact": ({"layers": 1, "sketch": 3}, "conflicting-settings"),
    "nothing": ({"layers": 1, "gramians": False}, "conflicting-settings"),
    "held out": ({"held_out": "micro-batch", "level": "representation"}, "conflicting-settings"),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_that_do_not_fit_are_refused(model: nn.ModuleDict, name: str) -> None:
    settings, code = SETTINGS[name]
    with raises(code):
        Recorder(model, **settings)


def test_without_gramians_and_a_closure_there_is_nothing_to_record(model: nn.ModuleDict) -> None:
    with raises("missing-closure"):
        Recorder(model, "trunk", gramians=False).observe(losses_of(model))


def test_the_representation_of_another_batch_is_refused(model: nn.ModuleDict) -> None:
    with raises("conflicting-settings"):
        Recorder(model, "trunk", level="representation").observe(
            losses_of(model), held_out=lambda: losses_of(model)
        )


def test_an_empty_recorder_has_no_trace(model: nn.ModuleDict) -> None:
    with raises("nothing-recorded"):
        Recorder(model).trace()
