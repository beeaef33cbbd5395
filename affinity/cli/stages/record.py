"""The stage that records: one multi-task run, watched."""

from safetensors import SafetensorError

from affinity.cli.run_files import TRACE, TRACE_SO_FAR
from affinity.cli.work import Work
from affinity.errors import InputError
from affinity.estimates import NEED_HELD_OUT, NEED_OPTIMIZER_STEPS
from affinity.problems import record
from affinity.recording import RecordingCost, Trace
from affinity.words import count

MOST_TASKS_BY_LAYER = 40
"""Up to so many tasks each layer is measured by itself, too: where to branch."""


def recorded(work: Work) -> Trace:
    """One multi-task run, watched."""
    if work.run.is_done("record"):
        work.stands("The recorded run", TRACE)
        return Trace.load(work.run.file(TRACE))
    work.console.print(
        f"Recording {count(work.options.runs, 'run')} of all tasks in one network ..."
    )
    costs: list[RecordingCost] = []
    with work.run.stage("record", {}, [TRACE]) as about:
        trace = record(
            work.problem,
            every=work.options.every,
            runs=work.options.runs,
            seed=work.options.seed,
            held_out=work.options.estimator in NEED_HELD_OUT,
            step="optimizer" if work.options.estimator in NEED_OPTIMIZER_STEPS else "gradient",
            layers=len(work.problem.tasks) <= MOST_TASKS_BY_LAYER,
            partial=work.run.file(TRACE_SO_FAR),
            tell=costs.append,
        )
        about["cost"] = {
            "measurements": sum(cost.measurements for cost in costs),
            "seconds": sum(cost.seconds for cost in costs),
            "plain_seconds": sum(cost.plain_seconds for cost in costs),
        }
        try:
            trace.save(work.run.file(TRACE))
        except (OSError, SafetensorError) as error:
            raise InputError(
                f"Could not write {str(work.run.file(TRACE))!r}: {error}. Choose a folder that "
                "can be written to and has space left."
            ) from error
    work.wrote(
        "record",
        f"{count(len(trace), 'measurement')} of {count(len(trace.tasks), 'task')}",
        [TRACE],
    )
    return trace
