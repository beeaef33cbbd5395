"""Estimate stage: the task-affinity matrix with standard errors."""

from affinity.cli.run import Run
from affinity.cli.run_directory import AFFINITY, TRACE
from affinity.estimates import ESTIMATORS
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
        matrix = ESTIMATORS[name]()(run.trace)
        write_atomically(directory.file(AFFINITY), matrix.frame().to_csv(index=False))
        more["estimator"] = matrix.estimator
    run.matrix = matrix
    summary = f"{name} from {count(len(run.trace), 'measurement')}"
    run.print_finished("estimate", summary, [AFFINITY])
