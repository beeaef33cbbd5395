"""Studies over functions, commands and by ask and tell: the right grouping, and nothing lost."""

import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from codes import raises

from affinity import AffinityMatrix, Score, Scores, Study
from affinity.study.ledger import Failed
from affinity.training import CommandTrainer, Job, Result

TASKS = ("a", "b", "c", "d")


def loss(tasks: tuple[str, ...], task: str, seed: int) -> float:
    """Tasks a and b help each other, c and d harm each other, large groups harm everybody."""
    group = set(tasks)
    value = 0.5
    value *= 0.6 if task in "ab" and {"a", "b"} <= group else 1
    value *= 1.4 if task in "cd" and {"c", "d"} <= group else 1
    value *= 1.1 if len(group) > 2 else 1
    noise = np.random.default_rng([seed, ord(task), len(group)]).standard_normal()
    return value * (1 + 0.02 * noise)


def trainer(transform: Callable[[float], float] = float) -> Callable[..., dict[str, float]]:
    return lambda tasks, seed: {task: transform(loss(tasks, task, seed)) for task in tasks}


def groups_of(study: Study) -> set[frozenset[str]]:
    return {network.served for network in study.plan().grouping.networks}


def new_study(folder: Path, score: Score | str = "minimize", trainings: int = 40) -> Study:
    return Study(folder, dict.fromkeys(TASKS, score), budget=3, trainings=trainings)


BEST = {frozenset("ab"), frozenset("c"), frozenset("d")}


@pytest.mark.parametrize(
    ("score", "transform"),
    [
        ("minimize", lambda loss: loss),
        ("minimize", lambda loss: loss - 0.5),  # around zero
        ("maximize", lambda loss: 1 - loss),
        (Score("maximize", relative=True), lambda loss: -loss),
        (Score("maximize", unit=0.001), lambda loss: 1 - loss),
        (Score("minimize", unit=5.0), lambda loss: 1000 * loss),
    ],
)
def test_the_best_grouping_is_found_for_every_kind_of_score(
    tmp_path: Path, score: Score | str, transform: Callable[[float], float]
) -> None:
    study = new_study(tmp_path, score)
    status = study.run(trainer(transform))
    assert groups_of(study) == BEST
    assert status.done <= 40
    gain = study.answer().plan.gain
    assert gain > 0


@pytest.mark.parametrize(("score", "is_told"), [("minimize", True), ("maximize", False)])
def test_scores_around_zero_are_told(tmp_path: Path, score: str, *, is_told: bool) -> None:
    study = new_study(tmp_path, score)
    study.run(trainer(lambda loss: loss - 0.5))
    assert any("Score(" in sentence for sentence in study.answer().unknown) == is_told


def test_gains_of_tasks_with_units_count_differences_that_matter(tmp_path: Path) -> None:
    study = new_study(tmp_path, Score("maximize", unit=0.001))
    study.run(trainer(lambda loss: 1 - loss))
    # a and b gain 0.2 of 4 tasks' scores: 0.1 is 100 differences that matter, 0.01 for each
    assert study.answer().plan.gain == pytest.approx(1.0, abs=0.1)


def test_scores_that_are_all_zero_prefer_no_sharing_over_another(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    study.run(trainer(lambda _: 0.0))
    assert groups_of(study) == {frozenset(TASKS)}  # one network is enough
    assert study.answer().plan.gain == 0.0


@pytest.mark.parametrize("trainings", [2, 3, 4, 5, 6, 9])
def test_small_budgets_are_kept(tmp_path: Path, trainings: int) -> None:
    study = new_study(tmp_path, trainings=trainings)
    asked: list[tuple[str, ...]] = []

    def train(tasks: tuple[str, ...], seed: int) -> dict[str, float]:
        asked.append(tasks)
        return trainer()(tasks, seed)

    status = study.run(train)
    assert len(asked) == status.done == trainings
    assert status.left == 0
    assert asked[0] == TASKS
    plan = study.plan()
    assert plan.grouping.tasks == frozenset(TASKS)
    alone = {tasks[0] for tasks in asked if len(tasks) == 1}
    told = " ".join(plan.provenance.unknown or ())
    for task in set(TASKS) - alone:
        assert repr(task) in told  # what it cannot tell
    assert study.ask() == []


def prior(helps: str) -> AffinityMatrix:
    values = torch.full((4, 4), -1.0)
    for source in helps:
        for target in helps:
            values[TASKS.index(source), TASKS.index(target)] = 1.0
    return AffinityMatrix(TASKS, values, estimator="test")


def test_the_prior_decides_what_is_trained_first(tmp_path: Path) -> None:
    study = Study(
        tmp_path, dict.fromkeys(TASKS, "minimize"), budget=3, trainings=2, prior=[prior("ab")]
    )
    assert [job.tasks for job in study.ask(5)] == [frozenset(TASKS), frozenset("ab")]


def test_without_results_the_plan_is_the_priors(tmp_path: Path) -> None:
    with raises("no-results"):
        new_study(tmp_path / "1").plan()
    study = Study(
        tmp_path / "2", dict.fromkeys(TASKS, "minimize"), budget=3, trainings=9, prior=[prior("bd")]
    )
    assert frozenset("bd") in groups_of(study)
    assert study.plan().provenance.expected_gain is None


def test_the_same_call_goes_on_and_another_is_refused(tmp_path: Path) -> None:
    def open_study(**changes: object) -> Study:
        settings = {
            "tasks": {"a": "maximize", "b": Score("minimize")},
            "budget": 2,
            "trainings": 8,
            "prior": [AffinityMatrix(("b", "a"), torch.eye(2), estimator="one, two")],
            "tolerance": 0.02,
            "seed": 5,
        }
        return Study(tmp_path, **(settings | changes))  # type: ignore[arg-type]

    (job,) = open_study().ask()
    assert job.seed == 5
    open_study().tell(job.id, {"a": 0.5, "b": 0.5})
    assert open_study().status().done == 1
    assert Study(tmp_path).tasks == {"a": Score("maximize"), "b": Score("minimize")}
    assert Study(tmp_path)._prior[0].values.tolist() == torch.eye(2).tolist()
    for name, value in {
        "tasks": {"a": "maximize", "b": "maximize"},
        "budget": 1,
        "trainings": 9,
        "prior": [AffinityMatrix(("b", "a"), torch.ones(2, 2))],
        "tolerance": 0.01,
        "seed": 1,
    }.items():
        with raises("other-settings") as error:
            open_study(**{name: value})
        assert f"{name} is" in str(error.value)
    open_study().extend(9)
    assert open_study(trainings=9).status().trainings == 9


def test_settings_are_checked(tmp_path: Path) -> None:
    tasks = {"a": "maximize", "b": "maximize"}
    with raises("no-study"):
        Study(tmp_path)
    with raises("budget-too-small"):
        Study(tmp_path, tasks, budget=0, trainings=2)
    with raises("too-few-trainings"):
        Study(tmp_path, tasks, budget=1, trainings=1)
    with raises("too-few-tasks"):
        Study(tmp_path, {"a": "maximize"}, budget=1, trainings=2)
    with raises("unknown-direction"):
        Study(tmp_path, {"a": "maximize", "b": "up"}, budget=1, trainings=2)
    with raises("unknown-task"):
        Study(
            tmp_path, tasks, budget=1, trainings=2, prior=[AffinityMatrix(("a", "c"), torch.eye(2))]
        )
    (tmp_path / "file").touch()
    with raises("unreadable-study"):
        Study(tmp_path / "file", tasks, budget=1, trainings=2)
    one_prior = AffinityMatrix(("a", "b"), torch.eye(2))
    Study(tmp_path / "new", tasks, budget=1, trainings=2, prior=one_prior)


WRONG_TYPES = """
import sys, torch
from pathlib import Path
from affinity import Study
from affinity.errors import InputError

def code_of(call):
    try:
        call()
    except InputError as error:
        return error.code

settings = {"tasks": {"a": "maximize", "b": "maximize"}, "budget": 1, "trainings": 4}
for name, value in (
    *(("budget", 2.5), ("trainings", "24"), ("seed", True), ("seed", -1), ("tolerance", "small")),
    *(("tasks", ["a", "b"]), ("prior", [torch.eye(2)])),
):
    print(code_of(lambda: Study("study", **(settings | {name: value}))))
assert not Path("study").exists()
study = Study("study", **settings)
print(code_of(lambda: study.ask("4")), code_of(lambda: study.run("train.py")))
print(code_of(lambda: study.audit(plan="separate")), code_of(lambda: study.extend(9.5)))
"""


def test_arguments_of_other_types_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    codes = subprocess.run(  # here, jaxtyping would check the types first
        [sys.executable, "-c", WRONG_TYPES],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert codes == [
        *("not-a-whole-number", "not-a-whole-number", "not-a-whole-number", "negative-seed"),
        *("invalid-tolerance", "not-scores", "not-a-prior"),
        *("not-a-whole-number", "not-a-function", "not-a-plan", "not-a-whole-number"),
    ]


def test_asking_and_telling_elsewhere(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    rng = random.Random(0)
    open_jobs: list[Job] = []
    while jobs := Study(tmp_path).ask(3) or open_jobs:
        open_jobs += [job for job in jobs if job not in open_jobs]
        rng.shuffle(open_jobs)
        job = open_jobs.pop()  # in any order, some much later
        Study(tmp_path).tell(job.id, trainer()(job.names, job.seed), seconds=5400)
    assert groups_of(study) == BEST
    status = study.status()
    assert status.running == status.waiting == 0
    assert status.last_seconds == 5400


def test_jobs_are_handed_out_once(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        batches = list(pool.map(lambda _: Study(tmp_path).ask(2), range(8)))
    jobs = [job for batch in batches for job in batch]
    assert len({job.id for job in jobs}) == len({(job.tasks, job.seed) for job in jobs})
    assert len(jobs) == len({job.id for job in jobs}) == study.status().running


def test_telling_twice_and_telling_nonsense(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    job = study.ask()[0]
    scores = dict.fromkeys(TASKS, 0.5)
    with raises("missing-task"):
        study.tell(job.id, {"a": 0.5})
    for seconds, code in ((-5.0, "out-of-range"), (float("nan"), "score-not-finite")):
        with raises(code):
            study.tell(job.id, scores, seconds=seconds)
    study.tell(job.id, scores)
    study.tell(job.id, dict(scores), seconds=3.0)
    with raises("told-twice"):
        study.tell(job.id, scores | {"a": 0.6})
    with raises("told-twice"):
        study.fail(job.id, "too late")
    with raises("unknown-job"):
        study.tell("s-99", scores)
    with raises("no-jobs"):
        study.ask(0)
    with raises("not-failed"):
        study.retry(job.id)
    with raises("not-a-table"):
        study.add(3)
    assert study.add({"run": ["r", "r"], "task": ["a", "b"], "score": [0.5, 0.4]}) == 1
    assert study.status().done == 1


def test_test_and_row_scores_are_kept_and_not_used_to_decide(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    job = study.ask()[0]
    scores = dict.fromkeys(TASKS, 0.5)
    rows = {task: [0.5, 0.25] for task in TASKS}
    study.tell(job.id, Scores(scores, dict.fromkeys(TASKS, 9.0), rows, 1000, 60.0))
    frame = Study(tmp_path).frame().query("state == 'done'")
    assert frame["validation"].tolist() == [0.5] * 4
    assert frame["test"].tolist() == [9.0] * 4
    assert frame["seconds"].tolist() == [60.0] * 4
    with Ledger_of(tmp_path).reading() as contents:
        result = contents.entries[job.id].result
        assert result is not None
        assert result.rows == dict.fromkeys(TASKS, (0.5, 0.25))
        assert result.parameters == 1000


def Ledger_of(folder: Path):  # noqa: N802
    return Study(folder)._ledger


@pytest.mark.parametrize(
    "fails",
    [
        lambda calls, _: calls % 5 == 0,
        lambda _, tasks: tasks == TASKS,
        lambda _, tasks: tasks == ("a",),
        lambda _, tasks: "d" in tasks,
    ],
    ids=["now and then", "all in one", "one task alone", "whatever has d"],
)
def test_failures_are_missing_data(
    tmp_path: Path, fails: Callable[[int, tuple[str, ...]], bool]
) -> None:
    study = new_study(tmp_path)
    calls = 0

    def train(tasks: tuple[str, ...], seed: int) -> dict[str, float]:
        nonlocal calls
        calls += 1
        if fails(calls, tasks):
            raise MemoryError("CUDA out of memory")
        return trainer()(tasks, seed)

    status = study.run(train)
    assert groups_of(study) == BEST
    assert all("CUDA out of memory" in reason for reason in status.reasons.values())
    told = " ".join(study.plan().provenance.unknown or ())
    if fails(1, TASKS) and not fails(1, ("b",)):
        assert "failed" in told or "'d'" in told


def test_groups_that_all_fail_are_not_proposed(tmp_path: Path) -> None:
    def train(tasks: tuple[str, ...], seed: int) -> dict[str, float]:
        if len(tasks) > 1:
            raise RuntimeError("out of memory")
        return {task: loss(tasks, task, seed) for task in tasks}

    study = new_study(tmp_path, trainings=14)
    study.run(train)
    assert groups_of(study) == {frozenset(task) for task in TASKS}


def test_a_transient_failure_is_retried_with_the_same_seed(tmp_path: Path) -> None:
    study = new_study(tmp_path, trainings=3)
    tried: list[tuple[tuple[str, ...], int]] = []

    def train(tasks: tuple[str, ...], seed: int) -> dict[str, float]:
        tried.append((tasks, seed))
        if tried.count((tasks, seed)) == 1 and len(tasks) == 1:
            raise OSError("node lost")
        return trainer()(tasks, seed)

    status = study.run(train)
    assert (status.done, status.failed, len(tried)) == (3, 0, 5)
    with study._ledger.reading() as contents:
        failures = [
            sum(isinstance(event, Failed) for event in entry.history)
            for entry in contents.entries.values()
        ]
    assert failures == [0, 1, 1]


def test_a_function_that_never_works_is_not_run_to_the_end(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    with raises("all-trainings-failed") as error:
        study.run(lambda tasks, seed: {"click": seed + len(tasks)})
    assert "missing" in str(error.value)
    status = study.status()
    assert status.failed == 3
    assert status.running == 0
    for job in status.reasons:
        study.retry(job)
    assert study.run(trainer()).failed == 0


def test_an_interruption_keeps_what_is_done(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    calls = 0

    def train(tasks: tuple[str, ...], seed: int) -> dict[str, float]:
        nonlocal calls
        calls += 1
        if calls == 5:
            raise KeyboardInterrupt
        return trainer()(tasks, seed)

    with pytest.raises(KeyboardInterrupt):
        study.run(train)
    status = study.status()
    assert (status.done, status.running, status.stale) == (4, 0, 0)
    Study(tmp_path).run(trainer())
    assert groups_of(study) == BEST


def test_an_executor_trains(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    with ThreadPoolExecutor(3) as pool:
        study.run(trainer(), executor=pool)
    assert groups_of(study) == BEST


def test_any_trainer_trains(tmp_path: Path) -> None:
    class Rounds:
        accepts = frozenset[str]()
        sizes: list[int] = []  # noqa: RUF012

        def __call__(self, jobs):
            batch = list(jobs)
            self.sizes.append(len(batch))
            return (Result.of(job, trainer()(job.names, job.seed)) for job in reversed(batch))

    study, rounds = new_study(tmp_path), Rounds()
    study.run(rounds)
    assert groups_of(study) == BEST
    assert len(rounds.sizes) > 1  # results are used before all is trained


def test_a_command_trains(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(
        "import json, sys\n"
        "tasks = sys.argv[3:]\n"
        "gain = 0.1 * ('x y' in tasks and '>' in tasks)\n"
        "json.dump({'validation': dict.fromkeys(tasks, 0.5 + gain)}, open(sys.argv[1], 'w'))\n"
    )
    study = Study(
        tmp_path / "study", dict.fromkeys(("x y", ">"), "maximize"), budget=2, trainings=6
    )
    study.run(CommandTrainer(f"{sys.executable} {script} {{out}} {{seed}} {{tasks}}", workers=2))
    assert groups_of(study) == {frozenset({"x y", ">"})}
    assert len(list((tmp_path / "study" / "trainings").glob("*/log.txt"))) == study.status().done


def past(count: int = 12, with_seed: bool = True) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    groups = [*((task,) for task in TASKS), TASKS, ("a", "b"), ("c", "d"), ("a", "c"), ("b", "d")]
    rows = [
        {"run": run, "task": task, "score": loss(tuple(groups[run % 9]), task, run), "seed": run}
        for run in range(count)
        for task in groups[run % 9]
    ]
    frame = pd.DataFrame(rows).sample(frac=1.0, random_state=int(rng.integers(9)))
    return frame if with_seed else frame.drop(columns="seed")


@pytest.mark.parametrize("with_seed", [True, False])
def test_past_runs_answer_without_any_training(tmp_path: Path, with_seed: bool) -> None:
    study = new_study(tmp_path)
    assert study.add(past(27, with_seed)) == 27
    assert groups_of(study) == BEST
    assert study.add(past(27, with_seed)) == 0  # again: nothing new
    status = study.status()
    assert (status.past, status.done, status.left) == (27, 0, 40)
    frame = study.frame()
    pairs = zip(frame["tasks"], frame["seed"], strict=True)
    trained = {(frozenset(tasks.split(" + ")), seed) for tasks, seed in pairs}
    assert not {(job.tasks, job.seed) for job in study.ask(3)} & trained


def test_past_runs_are_checked(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    frame = past()
    with raises("missing-column"):
        study.add(frame.drop(columns="score"))
    with raises("unknown-task"):
        study.add(frame.replace({"task": {"a": "z"}}))
    with raises("duplicate-task"):
        study.add(pd.concat([frame, frame]))
    with raises("not-a-number"):
        study.add(frame.assign(score="bad"))
    with raises("several-seeds"):
        study.add(frame.assign(seed=range(len(frame))))
    with raises("missing-run"):
        study.add(frame.assign(run=None))
    study.add(frame)
    with raises("told-twice"):
        study.add(frame.assign(score=0.0))
    assert study.status().past == 12


PROGRAM = """
import os, sys, time
from affinity import Study
def train(tasks, seed):
    time.sleep(0.01)
    scores = {task: 0.5 + 0.1 * len(tasks) + 0.01 * (hash(task) % 3) for task in tasks}
    line = f"{'+'.join(tasks)} {seed}\\n".encode()
    file = os.open(os.path.join(sys.argv[1], "finished"), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, line)
    return scores
study = Study(os.path.join(sys.argv[1], "study"), {task: "maximize" for task in "abcde"}, budget=2,
              trainings=30, tolerance=0.0)
print("ready", flush=True)
study.run(train, workers=int(sys.argv[2]))
"""


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_killed_runs_lose_no_finished_training(tmp_path: Path, workers: int) -> None:
    """Kill it at random times; only what finishes at that very moment may be repeated."""
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(PROGRAM))
    rng, kills = random.Random(workers), 0
    for _ in range(12):
        process = subprocess.Popen(
            [sys.executable, program, tmp_path, str(workers)],
            stdout=subprocess.PIPE,
            start_new_session=True,
            env=os.environ | {"PYTHONHASHSEED": "0"},
        )
        assert process.stdout is not None
        with process.stdout:
            process.stdout.readline()
        try:
            process.wait(rng.uniform(0.0, 0.8) if kills < 3 else 120)
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            kills += 1
        else:
            assert process.returncode == 0
            break
    study = Study(tmp_path / "study")
    time.sleep(0.2)
    finished = (tmp_path / "finished").read_text().splitlines()
    done = study.frame().query("state == 'done'").drop_duplicates("job")
    recorded = set(done["tasks"].str.replace(" + ", "+") + " " + done["seed"].astype(str))
    assert kills > 0
    assert study.status().running == study.status().stale == 0
    assert set(finished) == recorded
    assert len(finished) - len(recorded) <= kills * workers


def test_scores_left_by_a_killed_run_are_found(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    with study._ledger.runner("killed"):
        jobs = study._queue.hand_out(2, "killed")
    assert study.status().stale == 2
    path = tmp_path / "trainings" / jobs[0].id / "scores.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(dict.fromkeys(jobs[0].tasks, 0.5)))
    other = tmp_path / "trainings" / jobs[1].id / "scores.json"
    other.parent.mkdir(parents=True)
    other.write_text('{"a": 0.')
    trained: list[tuple[str, ...]] = []

    def train(tasks: tuple[str, ...], seed: int) -> dict[str, float]:
        trained.append((*tasks, str(seed)))
        return trainer()(tasks, seed)

    study.run(train)
    assert (*jobs[0].names, str(jobs[0].seed)) not in trained
    assert trained[0] == (*jobs[1].names, str(jobs[1].seed))  # what was cut off comes first
    frame = study.frame().set_index("job")
    assert set(frame.loc[jobs[0].id, "validation"]) == {0.5}


def test_an_observer_sees_each_job_and_each_recorded_result(tmp_path: Path) -> None:
    study = new_study(tmp_path, trainings=5)
    seen: list[tuple[str, bool, int]] = []

    def observe(event: Job | Result) -> None:
        is_result = isinstance(event, Result)
        job = event.job if isinstance(event, Result) else event
        seen.append((job.id, is_result, study.status().done))
        assert study.job(job.id) == job

    study.run(trainer(), observe=observe)
    jobs = [job_id for job_id, is_result, _ in seen if not is_result]
    assert [(i, done) for i, is_result, done in seen if is_result] == [
        (job_id, number) for number, job_id in enumerate(jobs, start=1)
    ]
    assert len(study.state().results) == 5


@pytest.mark.parametrize("seed", [1.5, "first"])
def test_past_runs_need_whole_numbers_as_seeds(tmp_path: Path, seed: object) -> None:
    runs = pd.DataFrame({"run": ["x"], "task": ["a"], "score": [0.5], "seed": [seed]})
    study = new_study(tmp_path)
    with raises("not-a-whole-number"):
        study.add(runs)
    assert study.add(runs.assign(seed="7")) == 1
