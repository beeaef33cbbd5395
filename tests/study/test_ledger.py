"""The ledger loses nothing: killed writers, many writers, full disks."""

import os
import signal
import threading
import time
from multiprocessing import get_context
from pathlib import Path

import pytest
from codes import raises

from affinity import Score, Study
from affinity.study.ledger import LEDGER, Created, Ledger, Planned, Started, Told
from affinity.training import Job

TASKS = {"a": Score("maximize"), "b": Score("minimize", unit=0.5, weight=2.0)}
CREATED = Created(
    version=1, study="s", tasks=TASKS, budget=1, trainings=9, tolerance=0.01, seed=0, prior=[]
)


def planned(number: int) -> Planned:
    job = Job(f"s-{number}", frozenset(TASKS), number, settings={"width": 2.0, "weights": {"a": 1}})
    return Planned(job=job, why="a test")


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    ledger = Ledger(tmp_path)
    with ledger.writing():
        ledger.append(CREATED, *map(planned, range(8)))
    return ledger


def test_another_reader_sees_what_was_written(ledger: Ledger) -> None:
    with ledger.writing():
        ledger.append(Started(id="s-1"), Told(id="s-1", validation={"a": 0.1, "b": -2.0}))
    with Ledger(ledger.folder).reading() as contents:
        assert contents.created == CREATED
        assert list(contents.created.tasks.values()) == list(TASKS.values())
        assert contents.entries["s-3"].job == planned(3).job
        entry = contents.entries["s-1"]
        assert entry.state == "done"
        assert [type(event) for event in entry.history] == [Planned, Started, Told]
        assert entry.result is not None
        assert entry.result.validation == {"a": 0.1, "b": -2.0}


def test_every_cut_through_the_file_leaves_the_whole_lines(ledger: Ledger) -> None:
    whole = ledger.path.read_bytes()
    for end in range(len(whole) - 250, len(whole)):
        ledger.path.write_bytes(whole[:end])
        cut = Ledger(ledger.folder)
        lines = whole[:end].count(b"\n")
        with cut.reading() as contents:
            assert len(contents.entries) == lines - 1
        with cut.writing() as contents:
            cut.append(planned(99))
            assert len(contents.entries) == lines
        with Ledger(ledger.folder).reading() as contents:
            assert list(contents.entries)[-1] == "s-99"


def test_a_damaged_line_is_named(ledger: Ledger) -> None:
    lines = ledger.path.read_bytes().splitlines(keepends=True)
    ledger.path.write_bytes(b"".join([*lines[:3], lines[3][:20] + b"\n", *lines[4:]]))
    with raises("damaged-ledger") as error, Ledger(ledger.folder).reading():
        pass
    assert "line 4" in str(error.value)


def test_a_failed_write_leaves_nothing_behind(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = ledger.path.read_bytes()

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fail)
        with raises("cannot-write"), ledger.writing():
            ledger.append(planned(9))
    assert ledger.path.read_bytes() == before
    with ledger.writing() as contents:
        ledger.append(planned(9))
        assert "s-9" in contents.entries


def test_thousands_of_results_are_read_in_a_second(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    scores = {"a": 0.5, "b": 0.25}
    rows = {"a": (0.5,) * 100, "b": (0.25,) * 100}
    with ledger.writing():
        ledger.append(CREATED)
        for number in range(2_000):
            pair = planned(number), Told(id=f"s-{number}", validation=scores, rows=rows)
            ledger._contents.apply(pair[0])  # written below, all at once
            ledger._contents.apply(pair[1])
    with ledger.path.open("ab") as file:
        for number in range(2_000):
            told = Told(id=f"s-{number}", validation=scores, test=scores, rows=rows)
            file.write(ledger._encoder.encode(planned(number)) + b"\n")
            file.write(ledger._encoder.encode(told) + b"\n")
    began = time.process_time()
    with Ledger(tmp_path).reading() as contents:
        assert sum(entry.is_done for entry in contents.entries.values()) == 2_000
    assert time.process_time() - began < 2


def test_runners_that_end_are_noticed(ledger: Ledger) -> None:
    with ledger.runner("mine"), ledger.writing() as contents:
        ledger.append(Started(id="s-1", runner="mine"))
        assert ledger.state_of(contents.entries["s-1"]) == "running"
        assert Ledger(ledger.folder).is_alive("mine")
    with ledger.reading() as contents:
        assert ledger.state_of(contents.entries["s-1"]) == "stale"

    def hold() -> None:
        with Ledger(ledger.folder).runner("killed"):
            time.sleep(60)

    process = get_context("fork").Process(target=hold)
    process.start()
    while not ledger.is_alive("killed"):
        time.sleep(0.01)
    assert process.pid
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert not ledger.is_alive("killed")


N_TELLING = 64


def study_with_asked(folder: Path) -> tuple[Study, list[Job]]:
    tasks = {f"t{number}": "maximize" for number in range(N_TELLING)}
    study = Study(folder, tasks, budget=2, trainings=2 * N_TELLING)
    jobs = study.ask(N_TELLING)
    assert len(jobs) == N_TELLING
    return study, jobs


def scores_of(job: Job) -> dict[str, float]:
    return {task: float(len(task)) for task in job.tasks}


def test_64_threads_tell_at_once(tmp_path: Path) -> None:
    study, jobs = study_with_asked(tmp_path)
    threads = [threading.Thread(target=study.tell, args=(job.id, scores_of(job))) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert study.status().done == N_TELLING
    assert Study(tmp_path).status().done == N_TELLING


def test_64_processes_tell_at_once(tmp_path: Path) -> None:
    study, jobs = study_with_asked(tmp_path)
    context = get_context("fork")

    def tell(job: Job) -> None:
        Study(tmp_path).tell(job.id, scores_of(job))

    processes = [context.Process(target=tell, args=(job,)) for job in jobs]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * N_TELLING
    assert study.status().done == N_TELLING
    assert (tmp_path / LEDGER).read_bytes().endswith(b"\n")
