import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from affinity.errors import InputError
from affinity.recording import Recorder
from affinity.recording.batch import check_loss


@pytest.fixture
def model() -> nn.ModuleDict:
    torch.manual_seed(0)
    return nn.ModuleDict({"trunk": nn.Linear(3, 3), "a": nn.Linear(3, 1), "b": nn.Linear(3, 1)})


def losses_of(model: nn.ModuleDict) -> dict[str, Tensor]:
    inputs = torch.ones(2, 3)
    return {name: model[name](model["trunk"](inputs)).square().mean() for name in "ab"}


LOSSES: dict[str, tuple[Callable[[dict[str, Tensor]], Any], str]] = {
    "none": (lambda losses: {}, "at least one task"),  # noqa: ARG005
    "no scalar": (lambda losses: {"a": losses["a"].expand(2)}, "scalar loss for the task 'a'"),
    "detached": (lambda losses: {"a": losses["a"].detach()}, "does not require gradients"),
    "an empty name": (lambda losses: {"": losses["a"]}, "non-empty"),
}


@pytest.mark.parametrize("name", LOSSES)
def test_losses_that_cannot_be_used_are_refused(model: nn.ModuleDict, name: str) -> None:
    change, message = LOSSES[name]
    with pytest.raises(InputError, match=message):
        Recorder(model, "trunk").observe(change(losses_of(model)))


def test_a_number_is_no_loss() -> None:
    with pytest.raises(InputError, match=r"task 'a', but got float.*not loss\.item\(\)"):
        check_loss("a", 0.5)


def test_a_new_task_is_refused(model: nn.ModuleDict) -> None:
    recorder = Recorder(model, "trunk", every=1)
    losses = losses_of(model)
    recorder.observe(losses)
    with pytest.raises(InputError, match=r"\['c'\] too.*tasks="):
        recorder.observe({"c": losses["a"]})


def observe_twice(recorder: Recorder, losses: Callable[[], dict[str, Tensor]]) -> None:
    recorder.observe(losses())
    recorder.observe(losses())


def test_a_task_that_does_not_reach_the_shared_part_is_told_once(model: nn.ModuleDict) -> None:
    recorder = Recorder(model, "trunk", every=1)

    def apart() -> dict[str, Tensor]:
        return {**losses_of(model), "b": model["b"].weight.square().sum()}

    with pytest.warns(UserWarning, match="'b' reaches none of the shared parameters") as told:
        observe_twice(recorder, apart)
    assert len(told) == 1
    gramians = recorder.trace().gramians
    assert gramians is not None
    assert gramians[:, 0, 0].isfinite().all()
    assert gramians[:, 1].isnan().all()


def test_a_closure_of_other_tasks_is_refused(model: nn.ModuleDict) -> None:
    with pytest.raises(InputError, match=r"return the losses of \['a', 'b'\].*got \['a'\]"):
        Recorder(model, "trunk").observe(
            losses_of(model), closure=lambda: {"a": losses_of(model)["a"]}
        )


def test_a_closure_of_another_batch_is_refused(model: nn.ModuleDict) -> None:
    def doubled() -> dict[str, Tensor]:
        return {task: 2 * loss for task, loss in losses_of(model).items()}

    with pytest.raises(InputError, match=r"same losses on the same batch.*'a'"):
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

    with pytest.raises(InputError, match="same losses on the same batch"):
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
    with pytest.raises(InputError, match=r"nothing matches.*trunk\.weight, trunk\.bias"):
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


def test_nothing_shared_is_told(model: nn.ModuleDict) -> None:
    losses = {name: model[name].weight.square().sum() for name in "ab"}
    with pytest.raises(InputError, match="at least two of the 2 losses reach"):
        Recorder(model).observe(losses)


def test_a_frozen_shared_part_is_told(model: nn.ModuleDict) -> None:
    model["trunk"].requires_grad_(requires_grad=False)
    with pytest.raises(InputError, match="frozen"):
        Recorder(model, "trunk").observe(losses_of(model))


def test_an_optimizer_of_other_parameters_is_refused(model: nn.ModuleDict) -> None:
    optimizer = torch.optim.SGD(model["a"].parameters(), lr=0.1)
    with pytest.raises(InputError, match="none of its groups"):
        Recorder(model, "trunk", optimizer=optimizer).observe(losses_of(model))


CLOSURES: dict[str, tuple[Callable[[dict[str, Tensor]], Any], str]] = {
    "nothing": (lambda losses: None, "losses by task.*got NoneType"),  # noqa: ARG005
    "a tuple": (lambda losses: tuple(losses.values()), "losses by task.*got tuple"),
    "no scalars": (
        lambda losses: {task: loss.expand(2) for task, loss in losses.items()},
        "scalar loss for the task 'a'",
    ),
}


@pytest.mark.parametrize("name", CLOSURES)
def test_closures_that_cannot_be_used_are_refused(model: nn.ModuleDict, name: str) -> None:
    change, message = CLOSURES[name]
    with pytest.raises(InputError, match=message):
        Recorder(model, "trunk").observe(losses_of(model), closure=lambda: change(losses_of(model)))


@pytest.mark.parametrize("settings", [{}, {"sketch": 2}])
def test_losses_of_a_graph_that_is_gone_are_refused(
    model: nn.ModuleDict, settings: dict[str, Any]
) -> None:
    losses = losses_of(model)
    sum(losses.values(), torch.tensor(0.0)).backward()
    with pytest.raises(InputError, match=r"before backward\(\)"):
        Recorder(model, "trunk", **settings).observe(losses)


SETTINGS: dict[str, tuple[dict[str, Any], str]] = {
    "lookahead_every": ({"lookahead_every": 0}, "lookahead_every to be at least 1"),
    "memory": ({"memory": 0}, "memory to be at least 1"),
    "a layer of no depth": ({"layers": 0}, "layers to be at least 1"),
    "sources": ({"sources": 0}, "sources to be at least 1"),
    "rate": ({"learning_rate": 0.0}, "learning rate above 0"),
    "sketch": ({"sketch": -1}, "0 or more directions"),
    "step": ({"step": "optimizer"}, "optimizer=..."),
    "layers": ({"layers": 1, "level": "representation"}, "representation has none"),
    "exact": ({"layers": 1, "sketch": 3}, "sketch=0"),
    "nothing": ({"layers": 1, "gramians": False}, "nothing of them"),
    "held out": ({"held_out": "micro-batch", "level": "representation"}, "nothing in common"),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_that_do_not_fit_are_refused(model: nn.ModuleDict, name: str) -> None:
    settings, message = SETTINGS[name]
    with pytest.raises(InputError, match=message):
        Recorder(model, **settings)


def test_without_gramians_and_a_closure_there_is_nothing_to_record(model: nn.ModuleDict) -> None:
    with pytest.raises(InputError, match="Expected a closure"):
        Recorder(model, "trunk", gramians=False).observe(losses_of(model))


def test_the_representation_of_another_batch_is_refused(model: nn.ModuleDict) -> None:
    with pytest.raises(InputError, match=r"held_out=.* gradients on parameters"):
        Recorder(model, "trunk", level="representation").observe(
            losses_of(model), held_out=lambda: losses_of(model)
        )


def test_an_empty_recorder_has_no_trace(model: nn.ModuleDict) -> None:
    with pytest.raises(InputError, match="nothing was recorded"):
        Recorder(model).trace()
