"""Estimate stage: the task-affinity matrix with standard errors."""

from affinity.cli.run import Run
from affinity.cli.run_directory import AFFINITY, TRACE
from affinity.errors import InputError
from affinity.estimates import ESTIMATORS, AffinityMatrix
from affinity.files import write_atomically
from affinity.words import count


def estimate_stage(run: Run) -> None:
    """Estimate the affinities; they are in `run.matrix`."""
    directory, name = run.directory, run.settings.estimator
    directory.require("record")
    inputs = {"trace": directory.hash_of(TRACE), "estimator": name}
    if directory.is_done("estimate", inputs):
        run.print_skipped("estimate", AFFINITY)
        return
    with directory.stage("estimate", inputs, [AFFINITY]) as more:
        matrix = _estimate(run, name)
        write_atomically(directory.file(AFFINITY), matrix.frame().to_csv(index=False))
        more["estimator"] = matrix.estimator
    run.matrix = matrix
    summary = f"{name} from {count(len(run.trace), 'measurement')}"
    run.print_finished("estimate", summary, [AFFINITY])


def _estimate(run: Run, name: str) -> AffinityMatrix:
    try:
        return ESTIMATORS[name]()(run.trace)
    except InputError as error:
        if error.code != "missing-in-trace":
            raise
        raise InputError(
            f"The run was recorded without what {name!r} needs. Record it again: affinity "
            f"record SOURCE --estimator {name!r} --out FOLDER, with the other options as before.",
            error.code,
        ) from error
