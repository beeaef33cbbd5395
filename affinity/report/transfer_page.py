"""The page of a transfer: what to learn first for each target, and what that is worth."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from affinity.files import write_atomically
from affinity.words import count

from .drawing import Picture, inline_svg
from .low_data_lines import LowDataLines
from .made import rows_of
from .rendering import Figure, render
from .transfer_heatmap import TransferHeatmap
from .transfer_words import transfer_facts, transfer_headline

MOST_OPEN = 24
"""Pairs whose table is not folded."""

CONTENTS = {
    "gains": "Measured gains",
    "recipes": "Recipes",
    "rows": "Rows of the target",
    "distortion": "Representation",
    "joint": "Joint or sequential",
    "scores": "Scores without training",
    "made": "How it was made",
}


def write_transfer(result: Mapping[str, Any], path: str | Path) -> Path:
    """Write one self-contained page, and return where it is.

    Args:
        result: As `Transfer.to_dict` gives it; and, where they were measured, `scores`, `curves`,
            `joint`, `distortion`, `recipes` and `choice`.
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
    distortion = result.get("distortion")
    scores = [row for row in result.get("scores", ()) if row["spearman"] is not None]
    figures = [_figure(result, name, each) for name, each in transfer_pictures(result).items()]
    has = {
        "gains": True,
        "recipes": result.get("choice"),
        "rows": len(figures) > 1,
        "distortion": distortion,
        "joint": result.get("joint"),
        "scores": scores,
        "made": True,
    }
    return render(
        "transfer.html.j2",
        title=f"{result['problem']}: transfer",
        result=dict(result),
        transfer=result,
        headline=transfer_headline(result),
        numbers=transfer_facts(result),
        contents=[(anchor, CONTENTS[anchor]) for anchor, is_there in has.items() if is_there],
        figures=figures,
        scores=scores,
        distortion=distortion,
        moved=_by_recipe(distortion["overall"]) if distortion else {},
        n_moved=len({(p["source"], p["target"]) for p in distortion["pairs"]}) if distortion else 0,
        is_long=len(result["pairs"]) > MOST_OPEN,
        recipes={(row["source"], row["target"]): row for row in result.get("recipes", ())},
        choice=result.get("choice"),
        settings=rows_of({"recipe": result["recipe"], **result.get("context", {})}),
    )


def _by_recipe(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """Familiar and shifted rows of each recipe."""
    return {
        recipe: [row for row in rows if row["recipe"] == recipe]
        for recipe in dict.fromkeys(row["recipe"] for row in rows)
    }


def _figure(result: Mapping[str, Any], name: str, picture: Picture) -> Figure:
    svg = Markup(inline_svg(picture, name))
    if name == "transfer":
        return Figure(
            name,
            "Measured transfer",
            f"Heatmap of the gains of {count(len(result['sources']), 'source')} on "
            f"{count(len(result['targets']), 'target')}. The same numbers are in the table.",
            svg,
            "Percent of the loss from scratch that is gone. Blue is beneficial, orange harmful, "
            "\N{ALMOST EQUAL TO} neutral, grey undecided; blank was trained on the target.",
        )
    target = str(picture.frame()["target"].iat[0])
    return Figure(
        name,
        f"By rows of {target}",
        f"Lines of the gain by rows of {target}. The same numbers are in the JSON of this page.",
        svg,
    )
