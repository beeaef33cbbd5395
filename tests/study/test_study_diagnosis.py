"""Diagnoses of studies: what the trainer offers is changed, and each training is run once."""

from contextlib import suppress
from pathlib import Path

import pytest
from codes import raises

from affinity import Plan, Study
from affinity.audit.trainings import FIRST_SEED
from affinity.errors import InputError

TASKS = ("a", "b")
Asked = list[tuple[tuple[str, ...], int, float]]


def new_study(folder: Path) -> Study:
    return Study(folder, dict.fromkeys(TASKS, "maximize"), budget=2, trainings=6)


def score(tasks: tuple[str, ...], seed: int, width: float) -> dict[str, float]:
    """0.1 lower for two tasks in one network, unless it is wide."""
    return {task: 0.8 - 0.1 * (len(tasks) - 1) / width**2 + 0.002 * (seed % 3) for task in tasks}


def test_a_narrow_network_is_found_to_be_the_cause_and_nothing_is_trained_twice(
    tmp_path: Path,
) -> None:
    asked: Asked = []

    def train(tasks: tuple[str, ...], seed: int, width: float = 1.0) -> dict[str, float]:
        asked.append((tasks, seed, width))
        return score(tasks, seed, width)

    study = new_study(tmp_path)
    audit = study.audit(train, replicates=3, plan=Plan.all_in_one(TASKS), baselines=())
    assert audit.overall.verdict == "harmful"
    assert len(asked) == 9
    diagnosis = study.diagnose(train, replicates=3)
    assert diagnosis.harmed == TASKS
    assert diagnosis.cause == "capacity"
    assert diagnosis.unit == "difference"
    assert float(diagnosis.test_harm.mean()) == pytest.approx(0.1, abs=0.001)
    assert {seed for _, seed, _ in asked} == {FIRST_SEED, FIRST_SEED + 1, FIRST_SEED + 2}
    assert len(asked) == len(set(asked))
    skipped = {result.cause: result.skipped for result in diagnosis.results}
    assert skipped["data"]
    assert not skipped["capacity"]
    n_asked = len(asked)
    assert study.status().judging == n_asked
    again = Study(tmp_path).diagnose(train, replicates=3)
    assert len(asked) == n_asked
    assert again.summary() == diagnosis.summary()
    status = study.status()
    assert (status.judging, status.judged, status.done) == (n_asked, n_asked, 0)


def test_a_diagnosis_by_ask_and_tell_is_that_of_a_function(tmp_path: Path) -> None:
    def train(
        tasks: tuple[str, ...], seed: int, width: float = 1.0, rows: float = 1.0
    ) -> dict[str, float]:
        return {task: value - 0.1 * (1 - rows) for task, value in score(tasks, seed, width).items()}

    study, settings = new_study(tmp_path / "told"), ("width", "rows")
    numbers: list[int] = []
    with raises("diagnosis-unfinished"):
        study.diagnose(replicates=3, settings=settings)
    while jobs := [job for job in study.ask(1000) if job.purpose == "judge"]:
        numbers.append(len(jobs))
        for job in jobs[1:]:
            study.tell(job.id, train(job.names, job.seed, **job.settings))  # pyright: ignore[reportArgumentType]
        with raises("diagnosis-unfinished"):
            study.diagnose(replicates=3, settings=settings)
        study.fail(jobs[0].id, "node lost")
        study.retry(jobs[0].id)  # it waits again: a failed result is no result of it
        with raises("diagnosis-unfinished"):
            study.diagnose(replicates=3, settings=settings)
        assert [job.id for job in study.ask(1)] == [jobs[0].id]
        study.tell(jobs[0].id, train(jobs[0].names, jobs[0].seed, **jobs[0].settings))  # pyright: ignore[reportArgumentType]
        with suppress(InputError):
            study.diagnose(replicates=3, settings=settings)
    # All in one and both alone on 3 seeds; then 4 changes of them, and width 4 is one of two.
    assert numbers == [9, 36]
    told = study.diagnose(replicates=3, settings=settings)
    (tmp_path / "run").mkdir()
    run = new_study(tmp_path / "run" / "told").diagnose(train, replicates=3)
    assert told.summary() == run.summary()
    assert told.cause == "capacity"


def test_only_known_settings_are_asked_for(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    with raises("unknown-setting"):
        study.diagnose(settings=("breadth",))
    with raises("trainer-has-settings"):
        study.diagnose(score, settings=("width",))
    with raises("diagnosis-unfinished"):
        study.diagnose(replicates=2)
    assert {job.purpose for job in study.ask(6)} == {"judge"}
    assert not any(job.settings for job in study.ask(20))


def test_a_change_that_cannot_be_trained_is_missing(tmp_path: Path) -> None:
    def train(tasks: tuple[str, ...], seed: int, width: float = 1.0) -> dict[str, float]:
        if width == 4:
            raise MemoryError("too wide")
        return score(tasks, seed, width)

    diagnosis = new_study(tmp_path).diagnose(train, replicates=3)
    assert diagnosis.cause == "capacity"
    assert diagnosis.remedies[0].change.name == "2 times the width"
    assert "NaN" not in diagnosis.to_json()
    skipped = {result.cause: result.skipped for result in diagnosis.results}
    assert ["4 times the width" in text for text in skipped["capacity"]] == [True]


def test_a_replicate_with_a_failed_training_is_left_out(tmp_path: Path) -> None:
    def train(tasks: tuple[str, ...], seed: int, width: float = 1.0) -> dict[str, float]:
        if tasks == ("a",) and seed == FIRST_SEED + 1:
            raise RuntimeError("node lost")
        return score(tasks, seed, width)

    diagnosis = new_study(tmp_path).diagnose(train, replicates=4)
    assert diagnosis.n_replicates == 3
    assert [limit.code for limit in diagnosis.context.limits] == ["failed-training"]
    assert diagnosis.cause == "capacity"


def test_a_diagnosis_whose_usual_trainings_fail_stops(tmp_path: Path) -> None:
    def train(tasks: tuple[str, ...], seed: int) -> dict[str, float]:
        raise RuntimeError(f"no data for {tasks} and {seed}")

    with raises("all-trainings-failed"):
        new_study(tmp_path).diagnose(train, replicates=3)
    with raises("different-tasks"):
        new_study(tmp_path).diagnose(train, plan=Plan.all_in_one(("a", "c")))
