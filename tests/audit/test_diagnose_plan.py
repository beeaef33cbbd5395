"""Diagnosing trainings of any kind: only what the trainer offers is changed."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from codes import raises

from affinity import Diagnosis, Plan
from affinity.audit import diagnose_plan
from affinity.training import CommandTrainer, FunctionTrainer

TASKS = {"a": "maximize", "b": "maximize"}
TOGETHER = Plan.all_in_one(("a", "b"))


@dataclass
class Training:
    """AUC 0.1 lower for two tasks in one network; a wider one, or longer training, removes that."""

    removed_by: str
    asked: list[dict[str, float]] = field(default_factory=list[dict[str, float]])

    def __call__(self, tasks: tuple[str, ...], seed: int, **settings: float) -> dict[str, float]:
        self.asked.append(settings)
        harm = 0.1 * (len(tasks) - 1) / settings.get(self.removed_by, 1.0) ** 2
        return {task: 0.8 - harm + 0.002 * (seed % 3) * len(tasks) for task in tasks}


def diagnose(training: Callable[..., object], *settings: str, **more: int) -> Diagnosis:
    return diagnose_plan(TOGETHER, FunctionTrainer(training, settings=settings), TASKS, **more)


@pytest.mark.parametrize(
    ("setting", "cause"), [("width", "capacity"), ("length", "optimization"), ("rows", "data")]
)
def test_the_cause_of_harm_is_the_setting_that_removes_it(setting: str, cause: str) -> None:
    training = Training(setting)
    found = diagnose(training, "width", "length", "rows")
    assert found.harmed == ("a", "b")
    assert found.unit == "difference"
    assert float(found.evaluation_harm.mean()) == pytest.approx(0.1, abs=0.01)
    if setting == "rows":  # fewer rows harm more here: gathering more would help
        assert found.cause is not None
        assert next(each for each in found.results if each.cause == "data").changes
    else:
        assert found.cause == cause
        assert found.recovered(found.remedies[0].change, "test")[0] == pytest.approx(
            0.085, abs=0.02
        )


def test_only_offered_settings_are_asked_for() -> None:
    training = Training("width")
    found = diagnose(training, "length")
    assert {name for settings in training.asked for name in settings} == {"length"}
    skipped = {each.cause: each.skipped for each in found.results}
    assert len(skipped["capacity"]) == 1
    assert len(skipped["data"]) == 1
    assert found.status(found.results[0]) == "not tested"


def test_a_function_offers_the_settings_that_are_its_arguments() -> None:
    def train(tasks: tuple[str, ...], seed: int, width: float = 1.0) -> dict[str, float]:
        return dict.fromkeys(tasks, 0.7 + width + seed)

    assert FunctionTrainer(train).accepts == {"width"}
    assert FunctionTrainer(train, settings=()).accepts == frozenset()
    assert FunctionTrainer(dict).accepts == frozenset()
    with raises("unknown-setting"):
        FunctionTrainer(train, settings=("depth",))


def test_a_command_offers_the_settings_that_are_its_placeholders() -> None:
    command = "python train.py --tasks {tasks} --width {width} --out {out}"
    assert CommandTrainer(command).accepts == {"width"}
    assert CommandTrainer(command, settings=("rows",)).accepts == {"width", "rows"}


def test_bad_input_is_an_error() -> None:
    training = Training("width")
    with raises("no-replicates"):
        diagnose(training, replicates=0)
    with raises("different-tasks"):
        diagnose_plan(Plan.all_in_one(("a", "c")), FunctionTrainer(training), TASKS)
