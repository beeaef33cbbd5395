"""Record stage: one training of all tasks in one network, with gradients and lookahead losses."""

from affinity.cli.run import Run
from affinity.cli.run_directory import PARTIAL_TRACE, TRACE
from affinity.estimates import NEED_HELD_OUT, NEED_OPTIMIZER_STEPS
from affinity.problems import record
from affinity.recording import RecordingCost
from affinity.words import count

MOST_TASKS_BY_LAYER = 40  # with more, layers are not measured separately


def record_stage(run: Run) -> None:
    """Record the run; its trace is in `run.trace`."""
    directory, settings = run.directory, run.settings
    if directory.is_done("record"):
        run.print_skipped("record", TRACE)
        return
    run.console.print(f"Recording {count(settings.runs, 'run')} of all tasks in one network ...")
    costs: list[RecordingCost] = []
    with directory.stage("record", {}, [TRACE]) as more:
        trace = record(
            run.problem_to_record,
            every=settings.measure_every,
            runs=settings.runs,
            seed=settings.seed,
            held_out=settings.estimator in NEED_HELD_OUT,
            step="optimizer" if settings.estimator in NEED_OPTIMIZER_STEPS else "gradient",
            layers=len(run.problem.tasks) <= MOST_TASKS_BY_LAYER,
            partial=directory.file(PARTIAL_TRACE),
            on_cost=costs.append,
            seconds=run.seconds_for_recording(),
        )
        more["cost"] = RecordingCost(
            measurements=sum(cost.measurements for cost in costs),
            seconds=sum(cost.seconds for cost in costs),
            plain_seconds=sum(cost.plain_seconds for cost in costs),
        )
        trace.save(directory.file(TRACE))
    run.trace = trace
    summary = f"{count(len(trace), 'measurement')} of {count(len(trace.tasks), 'task')}"
    run.print_finished("record", summary, [TRACE])
