"""Gradient files: projected gradients of the rows of a data set on disk, in 8 or 32 bits."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from affinity.errors import InputError

from .gradient_sums import Sums

_AT_ONCE = 256  # records whose sums are computed together


class GradientFile:
    """Writes one record per row, as it is measured; nothing is kept in memory.

    A NumPy file whose records hold the sum of losses, the number of labels and of rows, and the
    projected gradient and roots of the curvature: as float32, or as integers of 8 bits with one
    scale per vector, so that each number is off by at most 1/254 of the vector's largest.
    """

    def __init__(self, path: Path, shape: tuple[int, int], bits: int) -> None:
        number = "<f4" if bits == 32 else "<i1"
        self._type = np.dtype(
            [
                ("loss", "<f8"),
                ("labels", "<i4"),
                ("rows", "<i4"),
                ("scales", "<f4", shape[:1]),
                ("vectors", number, shape),
            ]
        )
        self._count = 0
        self._path = path
        with self._writing():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("wb")
            self._write_header()

    def __enter__(self) -> "GradientFile":
        return self

    def __exit__(self, *error: object) -> None:
        with self._writing(), self._file:
            if error[0] is None:  # otherwise the header says that there are no rows
                self._file.seek(0)
                self._write_header()

    @contextmanager
    def _writing(self) -> Generator[None]:
        try:
            yield
        except OSError as error:
            raise InputError(
                f"Could not write gradients to {str(self._path)!r}: {error.strerror}. Choose a "
                "folder that can be written to and has space left, or bits=8.",
                "cannot-write",
            ) from error

    def write(
        self, loss: float, n_labels: int, n_rows: int, vectors: Float[Tensor, "vector dimension"]
    ) -> None:
        """Add a row, or a batch: its gradient, and roots whose outer products are its curvature."""
        record = np.zeros(1, self._type)
        record["loss"], record["labels"], record["rows"] = loss, n_labels, n_rows
        values, scales = vectors, torch.ones(len(vectors)).double()
        if self._type["vectors"].base.kind == "i":
            scales = vectors.abs().amax(dim=1).clamp(min=1e-30) / 127
            values = (vectors / scales[:, None]).round().nan_to_num()
        record["scales"][0, : len(values)] = scales
        record["vectors"][0, : len(values)] = values
        with self._writing():
            self._file.write(record.tobytes())
        self._count += 1

    def _write_header(self) -> None:
        header = {
            "descr": np.lib.format.dtype_to_descr(self._type),
            "fortran_order": False,
            "shape": (self._count,),
        }
        np.lib.format.write_array_header_1_0(self._file, header)


def gradient_path(folder: str | Path, part: str, number: int, rank: int = 0) -> Path:
    """The file of a data set, by its number, and of a process of a distributed run."""
    return Path(folder) / f"{part}-{number}-{rank}.npy"


def remove_others(folder: Path, part: str, number: int, n_ranks: int) -> None:
    """Remove the files of a data set that an earlier call with more processes wrote."""
    while (path := gradient_path(folder, part, number, n_ranks)).exists():
        path.unlink()
        n_ranks += 1


def read_sums(
    folder: str | Path, part: str, number: int, rows: Sequence[int] | None = None
) -> Sums:
    """Sums over rows of a data set, by their places in its files; repeated ones count twice."""
    records: list[np.ndarray] = []
    path = gradient_path(folder, part, number)
    try:
        while not records or path.exists():
            records.append(np.load(path, mmap_mode="r"))
            path = gradient_path(folder, part, number, len(records))
    except (OSError, ValueError, EOFError) as error:
        raise InputError(
            f"Could not read gradients from {str(path)!r}: {error}. Give the folder that "
            "linearize wrote them to.",
            "damaged-file",
        ) from error
    ends = np.cumsum([len(of_rank) for of_rank in records])
    wanted = np.arange(ends[-1]) if rows is None else np.asarray(rows)
    if len(wanted) and (wanted.min() < 0 or wanted.max() >= ends[-1]):
        raise InputError(
            f"Expected places of rows from 0 to {ends[-1] - 1} of data set {number} in "
            f"{str(folder)!r} ({part}), but got "
            f"{list(rows or [])[:5]}.",
            "unknown-row",
        )
    sums = Sums(records[0].dtype["vectors"].shape[1])
    for of_rank, end in zip(records, ends, strict=True):
        start = end - len(of_rank)
        places = wanted[(wanted >= start) & (wanted < end)].astype(int) - start
        for begin in range(0, len(places), _AT_ONCE):
            part_of_rows = of_rank[places[begin : begin + _AT_ONCE]]
            values = part_of_rows["vectors"].astype(np.float64)
            sums.add(
                part_of_rows["loss"].sum(),
                part_of_rows["labels"].sum(),
                part_of_rows["rows"].sum(),
                torch.from_numpy(values * part_of_rows["scales"][..., None]),
            )
    return sums
