"""Results are checked; functions, processes, executors and commands keep one protocol."""

import json
import os
import shlex
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import torch
from codes import raises

from affinity import Scores
from affinity.training import CommandTrainer, FunctionTrainer, Job, Result, Trainer
from affinity.training.judge import MOST_BLOCKS
from affinity.training.scheduling import JobExecutor

AB = frozenset({"a", "b"})
JOB = Job("7", AB, seed=0)


def job(number: int, *tasks: str) -> Job:
    return Job(str(number), frozenset(tasks or ("a", "b")), seed=number)


def jobs(count: int) -> list[Job]:
    return [job(number) for number in range(count)]


@pytest.mark.parametrize(
    ("scores", "code"),
    [
        ({"a": 0.5}, "missing-task"),
        ({"a": 0.5, "b": 0.5, "c": 0.5}, "unknown-task"),
        ({"a": 0.5, "b": float("nan")}, "score-not-finite"),
        ({"a": 0.5, "b": float("inf")}, "score-not-finite"),
        ({"a": 0.5, "b": "0.5"}, "not-a-number"),
        ({"a": 0.5, "b": True}, "not-a-number"),
        ({"a": 0.5, "b": np.ones(3)}, "not-a-number"),
        ({"a": None, "b": None}, "no-scores"),
        ({}, "missing-task"),
        (0.5, "not-scores"),
        (None, "not-scores"),
        (Scores(), "no-scores"),
        ({"validation": {"a": 1.0, "b": 1.0}, "tset": {}}, "unknown-field"),
        ({"validation": {"a": 1.0, "b": 1.0}, "test": {"a": 1.0}}, "missing-task"),
        (Scores(test={"a": 1.0, "b": 1.0}, rows={"a": [1.0]}), "missing-task"),
        ({"test": {"a": 1, "b": 1}, "rows": {"a": [1.0], "b": ["x"]}}, "invalid-row-scores"),
        (Scores(test={"a": 1.0, "b": 1.0}, rows={"a": [1.0], "b": []}), "invalid-row-scores"),
        (Scores({"a": 1.0, "b": 1.0}, seconds=float("nan")), "score-not-finite"),
    ],
)
def test_what_is_no_score_per_task_is_refused(scores: object, code: str) -> None:
    with raises(code) as error:
        Result.of(JOB, scores)
    assert "'7'" in str(error.value)  # the job is named


@pytest.mark.parametrize("kind", [float, int, np.float32, np.int64, np.array, torch.tensor])
def test_numbers_of_every_kind_are_scores(kind: type) -> None:
    assert Result.of(JOB, {"a": kind(1), "b": kind(0)}).validation == {"a": 1.0, "b": 0.0}


def test_an_undefined_score_is_left_out() -> None:
    assert Result.of(JOB, {"a": 0.5, "b": None}).validation == {"a": 0.5}


def test_a_task_may_be_named_validation() -> None:
    own = Job("1", frozenset({"validation", "test"}), seed=0)
    assert Result.of(own, {"validation": 0.5, "test": 1}).validation == {
        "validation": 0.5,
        "test": 1.0,
    }


def test_row_scores_become_blocks_of_the_same_rows() -> None:
    rows = np.arange(10 * MOST_BLOCKS, dtype=float)
    scores = {"a": 1.0, "b": 1.0}
    blocks = Result.of(JOB, Scores(test=scores, rows={"a": rows, "b": rows[:3]})).rows
    assert blocks is not None
    assert blocks["a"] == tuple(4.5 + 10 * np.arange(MOST_BLOCKS))
    assert blocks["b"] == (0.0, 1.0, 2.0)


def train(tasks: tuple[str, ...], seed: int) -> dict[str, float]:
    if seed == 3:
        raise RuntimeError("node lost")
    if seed == 4:
        sys.exit("given up")
    if seed == 5:
        return {tasks[0]: 0.5}
    if seed == 6 and os.environ.get("AFFINITY_MAY_DIE"):
        os.kill(os.getpid(), signal.SIGKILL)
    return {task: float(seed) for task in tasks}


def check(results: list[Result], died: tuple[str, ...] = ()) -> None:
    by_job = {result.job.id: result for result in results}
    codes = {"3": "exception", "4": "exception", "5": "missing-task"} | dict.fromkeys(
        died, "worker-died"
    )
    assert len(by_job) == len(results) == 12
    for number, result in by_job.items():
        assert result.code == codes.get(number), result.error
        if number not in codes:
            assert result.validation == {"a": float(number), "b": float(number)}
            assert result.seconds is not None
    assert "node lost" in str(by_job["3"].error)


def test_a_function_trains_every_job() -> None:
    trainer = FunctionTrainer(train)
    assert isinstance(trainer, Trainer)
    check(list(trainer(jobs(12))))


def test_a_function_is_no_trainer() -> None:
    assert not isinstance(train, Trainer)


def test_a_worker_that_dies_fails_only_its_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AFFINITY_MAY_DIE", "1")
    check(list(FunctionTrainer(train, workers=3)(jobs(12))), died=("6",))


@pytest.mark.slow
def test_a_local_function_runs_in_processes() -> None:
    here = os.getpid()
    trainer = FunctionTrainer(lambda tasks, _: dict.fromkeys(tasks, os.getpid()), workers=2)
    values = [result.validation for result in trainer(jobs(4))]
    assert all(value is not None and value["a"] != here for value in values)


def test_a_function_that_cannot_be_pickled_is_refused() -> None:
    lock = threading.Lock()
    trainer = FunctionTrainer(lambda *_: [lock], workers=2)
    with raises("cannot-be-pickled"):
        list(trainer(jobs(2)))


class RayExecutor(Executor):
    """Ray's tasks as an executor, as in docs/study.md."""

    def submit(self, fn, /, *args, **settings):  # type: ignore[override]
        import ray

        return ray.remote(fn).remote(*args, **settings).future()


@pytest.fixture(
    params=["threads", "processes", "dask", pytest.param("ray", marks=pytest.mark.slow), "submitit"]
)
def executor(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[JobExecutor]:
    if request.param == "ray":
        ray = pytest.importorskip("ray")
        here = os.pathsep.join(map(str, [Path(__file__).parent, Path(__file__).parents[1]]))
        environment = {"env_vars": {"PYTHONPATH": here}}  # where workers find this module
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, runtime_env=environment)
        yield RayExecutor()
        ray.shutdown()
    elif request.param == "submitit":
        submitit = pytest.importorskip("submitit")
        local = submitit.AutoExecutor(folder=tmp_path, cluster="local")
        local.update_parameters(timeout_min=5)
        yield local
    elif request.param == "dask":
        distributed = pytest.importorskip("distributed")
        with distributed.Client(n_workers=1, threads_per_worker=2, processes=False) as client:
            yield client.get_executor()
    elif request.param == "processes":
        with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
            yield pool
    else:
        with ThreadPoolExecutor(2) as pool:
            yield pool


def test_any_executor_trains_every_job(executor: JobExecutor) -> None:
    check(list(FunctionTrainer(train, workers=2, executor=executor)(jobs(12))))


def test_a_broken_executor_is_reported() -> None:
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    with raises("executor-broken"):
        list(FunctionTrainer(train, executor=pool)(jobs(2)))


class Later:
    """A future like submitit's: no `concurrent.futures.Future`."""

    def __init__(self, value: object) -> None:
        self._value, self._ready = value, time.monotonic() + 0.1

    def done(self) -> bool:
        return time.monotonic() > self._ready

    def result(self) -> object:
        return self._value


class Foreign(ThreadPoolExecutor):
    def submit(self, fn, /, *args):  # type: ignore[override]
        return Later(fn(*args))


def test_futures_of_other_libraries_are_polled() -> None:
    check(list(FunctionTrainer(train, executor=Foreign(4))(jobs(12))))


def test_later_jobs_may_follow_from_earlier_results() -> None:
    finished: list[str] = []

    def following() -> Iterator[Job]:
        for number in range(20, 26):
            assert len(finished) >= number - 20 - 2  # a job is taken when a worker is free
            yield job(number)

    for result in FunctionTrainer(train, executor=ThreadPoolExecutor(2))(following()):
        finished += [result.job.id]
    assert sorted(finished) == [str(number) for number in range(20, 26)]


def test_settings_reach_only_who_accepts_them() -> None:
    wide = Job("1", AB, 0, settings={"width": 2.0})
    with raises("setting-not-accepted"):
        list(FunctionTrainer(train)([wide]))
    takes_width = FunctionTrainer(
        lambda tasks, _, width=1.0: dict.fromkeys(tasks, width), settings=("width",)
    )
    (result,) = takes_width([wide])
    assert result.validation == {"a": 2.0, "b": 2.0}


SCRIPT = """
import json, os, subprocess, sys, time
seed, out, tasks = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
assert json.loads(os.environ["AFFINITY_TASKS"]) == tasks
assert os.environ["AFFINITY_OUT"] == out and os.environ["AFFINITY_SEED"] == sys.argv[1]
print("training", tasks)
if seed == 1:
    sys.exit("no data")
if seed == 2:
    sys.exit(0)
if seed == 3:
    open(out, "w").write("{'a': 0.5}")
    sys.exit(0)
if seed == 4:
    child = subprocess.Popen(["sleep", "60"])
    open(os.environ["PID_FILE"], "w").write(str(child.pid))
    time.sleep(60)
if seed == 5:
    os.abort()
if seed == 6:
    open(out, "wb").write(b"\\xff\\xfe")
    sys.exit(0)
scores = dict.fromkeys(tasks, 0.5)
json.dump({"validation": scores, "test": scores} if seed == 7 else scores, open(out, "w"))
"""


@pytest.fixture
def command(tmp_path: Path) -> str:
    script = tmp_path / "train me.py"
    script.write_text(SCRIPT)
    return f"{sys.executable} {shlex.quote(str(script))} {{seed}} {{out}} {{tasks}}"


def test_a_command_gets_tasks_of_any_name(command: str, tmp_path: Path) -> None:
    names = ("two words", "a>b", "it's", '"', "$HOME", "{seed}", "ü", "-x")
    (result,) = CommandTrainer(command, folder=tmp_path)([job(0, *names)])
    assert result.error is None
    assert result.validation == dict.fromkeys(sorted(names), 0.5)


def test_a_command_may_give_validation_and_test_scores(command: str, tmp_path: Path) -> None:
    (result,) = CommandTrainer(command, folder=tmp_path)([job(7)])
    assert result.test == result.validation == {"a": 0.5, "b": 0.5}


@pytest.mark.parametrize(
    ("seed", "code"),
    [(1, "exit-status"), (2, "no-scores"), (3, "bad-json"), (5, "exit-status"), (6, "bad-json")],
)
def test_a_command_that_fails_names_its_output(
    command: str, tmp_path: Path, seed: int, code: str
) -> None:
    (result,) = CommandTrainer(command, folder=tmp_path)([job(seed)])
    log = tmp_path / str(seed) / "log.txt"
    assert result.code == code
    assert str(log) in str(result.error)
    assert "training ['a', 'b']" in log.read_text()


def ends_soon(pid: int) -> bool:
    state = Path(f"/proc/{pid}/stat")
    for _ in range(50):
        if not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.1)
    return False


def test_a_timeout_ends_the_command_and_its_children(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PID_FILE", str(tmp_path / "pid"))
    (result,) = CommandTrainer(command, timeout=2.0, folder=tmp_path)([job(4)])
    assert result.code == "timeout"
    assert ends_soon(int((tmp_path / "pid").read_text()))


def test_failed_commands_are_run_again(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(
        "import json, sys, pathlib\n"
        "tries = pathlib.Path(sys.argv[2]); n = len(tries.read_text()) if tries.exists() else 0\n"
        "tries.write_text('x' * (n + 1))\n"
        "assert n == 2\n"
        "json.dump(dict.fromkeys(sys.argv[3:], n), open(sys.argv[1], 'w'))\n"
    )
    command = f"{sys.executable} {script} {{out}} {tmp_path / 'tries'} {{tasks}}"
    (result,) = CommandTrainer(command, retries=2, folder=tmp_path)([job(0)])
    assert result.validation == {"a": 2.0, "b": 2.0}
    assert (tmp_path / "0" / "log.txt").read_text().count("$ ") == 3


def test_every_running_command_has_a_gpu_of_its_own(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(
        "import json, os, sys, time\n"
        "gpu = os.environ['CUDA_VISIBLE_DEVICES']\n"
        f"mark = os.path.join({str(tmp_path)!r}, 'gpu' + gpu)\n"
        "os.close(os.open(mark, os.O_CREAT | os.O_EXCL))\n"
        "time.sleep(0.2); os.remove(mark)\n"
        "json.dump(dict.fromkeys(sys.argv[2:], int(gpu)), open(sys.argv[1], 'w'))\n"
    )
    command = f"{sys.executable} {script} {{out}} {{tasks}}"
    results = list(CommandTrainer(command, gpus=("2", "5"), folder=tmp_path)(jobs(5)))
    assert [result.error for result in results] == [None] * 5
    assert {result.validation["a"] for result in results if result.validation} == {2.0, 5.0}


def test_commands_that_cannot_run_are_refused() -> None:
    for command, code in {
        "": "bad-command",
        "python 'x": "bad-command",
        "no-such-program {tasks}": "unknown-program",
        f"{sys.executable} --tasks={{tasks}}": "tasks-in-token",
    }.items():
        with raises(code):
            CommandTrainer(command)
    with raises("too-few-gpus"):
        CommandTrainer(sys.executable, workers=2, gpus=("0",))


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL])
def test_commands_end_with_the_trainer(tmp_path: Path, ending: signal.Signals) -> None:
    program = textwrap.dedent(
        f"""
        import signal
        from affinity.training import CommandTrainer, Job
        signal.signal(signal.SIGINT, signal.default_int_handler)  # also where it was ignored
        command = "sh -c 'echo $$ > {tmp_path}/pid; exec sleep 60'"
        list(CommandTrainer(command)([Job("0", frozenset("a"), 0)]))
        """
    )
    process = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL)
    pid_file = tmp_path / "pid"
    limit = time.monotonic() + 60
    while not (pid_file.exists() and pid_file.read_text().strip()) and time.monotonic() < limit:
        time.sleep(0.05)
    process.send_signal(ending)
    process.wait(20)
    assert ends_soon(int(pid_file.read_text()))


def test_workers_leave_their_scores_behind(tmp_path: Path) -> None:
    list(FunctionTrainer(train, folder=tmp_path)(jobs(1)))
    text = (tmp_path / "0" / "scores.json").read_text()
    assert Result.of(job(0), json.loads(text)).validation == {"a": 0.0, "b": 0.0}


def test_a_command_gets_a_jobs_settings_in_its_placeholders(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(
        "import json, sys\n"
        "width, out, tasks = float(sys.argv[1]), sys.argv[2], sys.argv[3:]\n"
        "json.dump(dict.fromkeys(tasks, width), open(out, 'w'))\n"
    )
    trainer = CommandTrainer(f"{sys.executable} {script} {{width}} {{out}} {{tasks}}")
    jobs = [Job("1", AB, 0), Job("2", AB, 0, settings={"width": 2.0})]
    scores = {result.job.id: result.validation for result in trainer(jobs)}
    assert scores == {"1": {"a": 1.0, "b": 1.0}, "2": {"a": 2.0, "b": 2.0}}
    with raises("setting-not-accepted"):
        list(trainer([Job("3", AB, 0, settings={"rows": 0.5})]))
