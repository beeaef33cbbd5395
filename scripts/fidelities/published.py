"""Groups that others measured, as files for a replay: MTG-Net's ETTm1, Standley's five tasks."""

import runpy
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

COMPARISONS = Path(__file__).parents[1] / "comparisons"


def write_published(folder: Path) -> list[Path]:
    """Write a CSV for each published table with validation and test figures of all groups.

    Taskonomy in MTG-Net's tables has no validation figures and is left out.
    """
    folder.mkdir(parents=True, exist_ok=True)
    mtgnet = runpy.run_path(str(COMPARISONS / "mtgnet2022.py"))
    standley = runpy.run_path(str(COMPARISONS / "standley2020.py"))
    member, test = mtgnet["read"]("ETTm1_x"), mtgnet["read"]("ETTm1_y")
    tasks = ("HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT")
    written = [
        _write(folder / "mtgnet2022_ettm1.csv", tasks, member, mtgnet["read"]("ETTm1_val_y"), test)
    ]
    for setting, name in standley["FILES"].items():
        losses = [standley["losses"](part)[1:] for part in (name, f"{name}_test")]
        known = np.isfinite(losses[0])
        written.append(
            _write(
                folder / f"standley2020_{setting}.csv",
                standley["TASKS"],
                known,
                *(_gains(part, known) for part in losses),
            )
        )
    return written


def _gains(losses: NDArray[np.float64], member: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Gains over the full-size network of the task alone."""
    alone = np.nanmin(np.where(member & (member.sum(axis=1) == 1)[:, None], losses, np.nan), axis=0)
    return np.where(member, 1 - losses / np.abs(alone), 0.0)


def _write(
    path: Path,
    tasks: tuple[str, ...],
    member: NDArray[np.float64],
    validation: NDArray[np.float64],
    test: NDArray[np.float64],
) -> Path:
    frame = pd.DataFrame(np.asarray(member, dtype=int), columns=list(tasks))
    for part, gains in (("validation", validation), ("test", test)):
        for column, task in enumerate(tasks):
            frame[f"{task}.{part}"] = gains[:, column].round(6)
    frame.to_csv(path, index=False)
    return path
