"""The stage that estimates: what every task does to every other, with errors."""

import pandas as pd

from affinity.cli.run_files import AFFINITY, TRACE
from affinity.cli.work import Work
from affinity.estimates import ESTIMATORS, AffinityMatrix
from affinity.files import write_atomically
from affinity.recording import Trace
from affinity.words import count


def estimated(work: Work, trace: Trace | None = None) -> AffinityMatrix:
    """Affinity with its errors."""
    work.run.require("record")
    inputs = {"trace": work.run.hash_of(TRACE), "estimator": work.options.estimator}
    if work.run.is_done("estimate", inputs):
        work.stands("The estimate", AFFINITY)
        return matrix_of(work)
    trace = trace or Trace.load(work.run.file(TRACE))
    with work.run.stage("estimate", inputs, [AFFINITY]) as about:
        matrix = ESTIMATORS[work.options.estimator]()(trace)
        write_atomically(work.run.file(AFFINITY), matrix.frame().to_csv(index=False))
        about["estimator"] = matrix.estimator
    work.wrote(
        "estimate", f"{work.options.estimator} from {count(len(trace), 'measurement')}", [AFFINITY]
    )
    return matrix


def matrix_of(work: Work) -> AffinityMatrix:
    """The affinities in the folder."""
    noted = work.run.require("estimate")
    frame = pd.read_csv(
        work.run.file(AFFINITY),
        dtype={"source": str, "target": str},
        keep_default_na=False,
        na_values={"affinity": [""], "standard_error": [""]},
    )
    return AffinityMatrix.from_frame(frame, estimator=noted["estimator"])
