"""The page of few-shot results: how to learn a new task from few rows, and how well."""

from affinity.fewshot import FewShotSummary
from affinity.storage import to_jsonable

from .adaptation_curves import AdaptationCurves
from .fewshot_words import describe_replication, fewshot_facts, fewshot_headline
from .picture import Picture
from .provenance import describe_settings
from .rendering import PageFigure, render


def fewshot_pictures(summary: FewShotSummary) -> dict[str, Picture]:
    """The adaptation curves of each number of shots, by name."""
    return {
        f"{shots}-shot": AdaptationCurves.from_summary(summary, shots) for shots in summary.advised
    }


def fewshot_page_of(summary: FewShotSummary) -> str:
    """The page as text; the same summary gives the same text."""
    figures = [
        PageFigure(
            name,
            f"Adaptation, {picture.frame()['method'].nunique()} methods, {name}",
            f"Lines of the {summary.score} after each number of gradient steps, {name}. The same "
            "numbers are in the JSON of this page.",
            picture,
        )
        for name, picture in fewshot_pictures(summary).items()
    ]
    last = [row for row in summary.rows if row.steps == summary.steps[-1]]
    return render(
        "fewshot.html.j2",
        title=f"{summary.problem}: few shots",
        result=to_jsonable(summary),
        fewshot=summary,
        headline=fewshot_headline(summary),
        numbers=fewshot_facts(summary),
        replication=describe_replication(summary),
        last={(row.shots, row.method): row for row in last},
        methods=list(dict.fromkeys(row.method for row in last)),
        is_better="higher" if summary.score == "accuracy" else "lower",
        figures=figures,
        settings=describe_settings(to_jsonable(summary.context)),
    )
