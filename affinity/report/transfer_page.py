"""The page of a transfer: which source to train first for each target, and its gain."""

import math

from affinity.storage import to_jsonable
from affinity.transfer import TransferSummary
from affinity.words import count

from .low_data_lines import LowDataLines
from .picture import Picture
from .provenance import describe_settings
from .rendering import PageFigure, render
from .transfer_heatmap import TransferHeatmap
from .transfer_words import transfer_facts, transfer_headline

MOST_OPEN = 24  # tables of more pairs are collapsed


def transfer_pictures(summary: TransferSummary) -> dict[str, Picture]:
    """Every picture of a transfer by its name."""
    pictures: dict[str, Picture] = {"transfer": TransferHeatmap(summary)}
    targets = dict.fromkeys(point.target for point in summary.curves)
    for number, target in enumerate(targets, start=1):
        points = [point for point in summary.curves if point.target == target]
        pictures[f"rows-{number}"] = LowDataLines(points)
    return pictures


def transfer_page_of(summary: TransferSummary) -> str:
    """The page as text; the same summary gives the same text."""
    distortion = summary.distortion
    scores = [row for row in summary.scores if math.isfinite(row.spearman)]
    figures = [_figure(summary, name, p) for name, p in transfer_pictures(summary).items()]
    sections = [
        ("gains", "Measured gains", True),
        ("recipes", "Recipes", summary.choice),
        ("rows", "Rows of the target", summary.curves),
        ("distortion", "Representation", distortion),
        ("joint", "Joint or sequential", summary.joint),
        ("scores", "Transferability scores", scores),
        ("made", "How it was made", True),
    ]
    return render(
        "transfer.html.j2",
        title=f"{summary.problem}: transfer",
        result=to_jsonable(summary),
        transfer=summary,
        headline=transfer_headline(summary),
        numbers=list(transfer_facts(summary)),
        contents=[(anchor, name) for anchor, name, is_there in sections if is_there],
        figures=figures,
        scores=scores,
        by_recipe={
            recipe: [row for row in distortion.overall if row.recipe == recipe]
            for recipe in dict.fromkeys(row.recipe for row in distortion.overall)
        }
        if distortion
        else {},
        n_pairs=len({(row.source, row.target) for row in distortion.pairs}) if distortion else 0,
        is_long=len(summary.pairs) > MOST_OPEN,
        recipes={(row.source, row.target): row for row in summary.recipes},
        settings=describe_settings({"recipe": summary.recipe, **to_jsonable(summary.context)}),
    )


def _figure(summary: TransferSummary, name: str, picture: Picture) -> PageFigure:
    if name == "transfer":
        return PageFigure(
            name,
            "Measured transfer",
            f"Heatmap of the gains of {count(len(summary.sources), 'source')} on "
            f"{count(len(summary.targets), 'target')}. The same numbers are in the table.",
            picture,
            "Relative reduction in test loss compared with training from scratch, in %. Blue: "
            "beneficial, orange: harmful, \N{ALMOST EQUAL TO}: neutral, grey: undecided; blank: "
            "the source was trained on the target.",
        )
    target = str(picture.frame()["target"].iat[0])
    return PageFigure(
        name,
        f"By rows of {target}",
        f"Lines of the gain by rows of {target}. The same numbers are in the JSON of this page.",
        picture,
    )
