"""Export: every picture of an audit as files."""

from collections.abc import Sequence
from pathlib import Path

from affinity.audit import Audit, Diagnosis
from affinity.errors import InputError
from affinity.estimates import AffinityMatrix
from affinity.recording import Trace

from .diagnosis_text import diagnosis_facts
from .drawing import FORMATS
from .pictures import other_estimates, pictures_of


def write_figures(
    audit: Audit,
    folder: str | Path,
    formats: Sequence[str] = ("png",),
    *,
    matrices: Sequence[AffinityMatrix] = (),
    trace: Trace | None = None,
    diagnosis: Diagnosis | None = None,
) -> list[Path]:
    """Write every picture of the page to `folder`, once a format, and return the files.

    Args:
        audit: What to show.
        folder: Made where it is missing.
        formats: Of "png", "pdf" and "svg".
        matrices: Further estimates; those that the trace gives are added.
        trace: The recorded run.
        diagnosis: Why sharing does harm, for the same problem.

    Raises:
        InputError: If a format is unknown, or a file cannot be written.
    """
    unknown = [kind for kind in formats if kind not in FORMATS]
    if unknown:
        raise InputError(f"Expected formats among {list(FORMATS)}, but got {unknown}.")
    own = [] if audit.matrix is None else [audit.matrix]
    every_matrix = [*own, *matrices, *other_estimates(audit, trace)]
    causes = None if diagnosis is None else diagnosis_facts(diagnosis)
    pictures = pictures_of(audit, every_matrix, trace, diagnosis=causes)
    return [
        picture.save(Path(folder) / f"{name}.{kind}")
        for name, picture in pictures.items()
        for kind in formats
    ]
