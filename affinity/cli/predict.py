"""`affinity predict`: new rows through the networks that a run kept."""

import shlex
from pathlib import Path

import pandas as pd

from affinity.audit import TrainedPlan
from affinity.errors import InputError
from affinity.problems.reading import read_table

from .opening import use_one_thread
from .run_directory import RunDirectory
from .run_files import TRAINED


def predictions(run: Path, table: Path) -> pd.DataFrame:
    """A row for each row of the table, in order.

    Raises:
        InputError: If the run kept no networks, or the table lacks a column.
    """
    use_one_thread()
    folder = RunDirectory(run)
    if TRAINED not in folder.require("retrain")["outputs"]:
        raise InputError(
            f"Expected trained networks in {str(run)!r}, but none were kept. Keep them: affinity "
            f"retrain {shlex.quote(str(run))} --keep"
        )
    return TrainedPlan.load(folder.file(TRAINED))(read_table(table))
