"""The page of a transfer: what to learn first for each target, and what that is worth."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from affinity.files import write_atomically

from .drawing import Picture, inline_svg
from .low_data_lines import LowDataLines
from .numbers import count
from .rendering import Figure, render
from .transfer_heatmap import TransferHeatmap


def write_transfer(result: Mapping[str, Any], path: str | Path) -> Path:
    """Write one self-contained page, and return where it is.

    Args:
        result: As `Transfer.to_dict` gives it; and, where they were measured, `lines` (what to do),
            `scores`, `curves` and `joint`.
        path: The HTML file.

    Raises:
        InputError: If the file cannot be written.
    """
    return write_atomically(path, transfer_page_of(result))


def transfer_pictures(result: Mapping[str, Any]) -> dict[str, Picture]:
    """Every picture of a transfer by its name."""
    pictures: dict[str, Picture] = {"transfer": TransferHeatmap(result)}
    curves = result.get("curves") or []
    for number, target in enumerate(dict.fromkeys(each["target"] for each in curves), start=1):
        own = [each for each in curves if each["target"] == target]
        pictures[f"rows-{number}"] = LowDataLines(own)
    return pictures


def transfer_page_of(result: Mapping[str, Any]) -> str:
    """The page as text; the same result gives the same text."""
    figures: list[Figure] = []
    for name, picture in transfer_pictures(result).items():
        is_matrix = name == "transfer"
        target = "" if is_matrix else str(picture.frame()["target"].iat[0])
        figures.append(
            Figure(
                name,
                "Measured transfer" if is_matrix else f"By rows of {target}",
                f"Heatmap of the gains of {count(len(result['sources']), 'source')} on "
                f"{count(len(result['targets']), 'target')}. The same numbers are in the table."
                if is_matrix
                else f"Lines of the gain by rows of {target}. The same numbers are in the JSON of "
                "this page.",
                Markup(inline_svg(picture, name)),
                "Percent of the loss from scratch that is gone. Blue is beneficial, orange "
                "harmful, \N{ALMOST EQUAL TO} neutral, grey undecided; blank was trained on the "
                "target."
                if is_matrix
                else "",
            )
        )
    return render(
        "transfer.html.j2",
        title=f"{result['problem']}: transfer",
        result=dict(result),
        transfer=result,
        figures=figures,
    )
