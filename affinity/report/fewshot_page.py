"""The page of few shots: how to learn a new task from few rows, and how well that goes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup

from affinity.files import write_atomically
from affinity.words import count

from .adaptation_curves import AdaptationCurves
from .fewshot_words import fewshot_facts, fewshot_headline, over
from .picture import Picture
from .provenance import describe_settings
from .rendering import PageFigure, render
from .svg import inline_svg


def write_fewshot(result: Mapping[str, Any], path: str | Path) -> Path:
    """Write one self-contained page, and return where it is.

    Args:
        result: As `FewShotResult.plain` gives it.
        path: The HTML file.

    Raises:
        InputError: If the file cannot be written.
    """
    return write_atomically(path, fewshot_page_of(result))


def fewshot_pictures(result: Mapping[str, Any]) -> dict[str, Picture]:
    """The adaptation curves at each number of shots, by name."""
    table = pd.DataFrame(result["rows"])
    return {
        f"{shots}-shot": AdaptationCurves(
            table[table["shots"] == int(shots)], result["score"], count(int(shots), "shot")
        )
        for shots in result["advised"]
    }


def fewshot_page_of(result: Mapping[str, Any]) -> str:
    """The page as text; the same result gives the same text."""
    figures = [
        PageFigure(
            name,
            f"Adaptation, {picture.frame()['method'].nunique()} methods, {name}",
            f"Lines of the {result['score']} after each number of gradient steps, {name}. The same "
            "numbers are in the JSON of this page.",
            Markup(inline_svg(picture, name)),
        )
        for name, picture in fewshot_pictures(result).items()
    ]
    last = {
        (str(row["shots"]), row["method"]): row
        for row in result["rows"]
        if row["steps"] == result["steps"][-1]
    }
    return render(
        "fewshot.html.j2",
        title=f"{result['problem']}: few shots",
        result=dict(result),
        fewshot=result,
        headline=fewshot_headline(result),
        numbers=fewshot_facts(result),
        over=over(result),
        last=last,
        methods=list(dict.fromkeys(method for _, method in last)),
        is_better="higher" if result["score"] == "accuracy" else "lower",
        figures=figures,
        settings=describe_settings(result["context"]),
    )
