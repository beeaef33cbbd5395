"""The figures of an audit's page: pictures with titles, descriptions and captions."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from affinity.audit import Audit, Diagnosis, Gates
from affinity.estimates import AffinityMatrix
from affinity.grouping import Stability
from affinity.recording import Trace
from affinity.words import count

from .heatmap import tasks_per_cell
from .picture import Picture
from .pictures import audit_pictures, title_of
from .rendering import PageFigure

MOST_PAIRED = 150  # with more tasks, only pictures that stay readable, no numbers of pairs
AT_ANY_SIZE = ("heatmap", "gates", "causes")
NUMBERS = " Numbers in brackets are the networks of the plan."
TEXTS = {
    "gains": (
        "Measured gains",
        "Dot plot of the gain of each of {tasks} over its separate network, with intervals, for "
        "the plan and the baselines. The same numbers are in the table below.",
        "",
    ),
    "graph": (
        "Task graph",
        "{tasks} in a circle, with an arrow per affinity beyond its noise.",
        "Arrows point from source to target, up to three per target. Blue: helps. Orange, dashed: "
        "harms. Wider: stronger.",
    ),
    "over-time": (
        "Affinity over time",
        "Heatmaps of the affinities between {tasks} in consecutive parts of the run.",
        "Consecutive parts of the recorded run, on one scale. Do not group tasks by affinities "
        "that change sign: near a joint optimum even the gradients of related tasks conflict.",
    ),
    "causes": (
        "Recovered by each intervention",
        "Dot plot of the share of the harm that each intervention recovered, with intervals, by "
        "cause. The same numbers are in the table below.",
        "",
    ),
    "consensus": (
        "How often two tasks are grouped together",
        "Heatmap of the share of resampled matrices in which one network serves both tasks.",
        "Percent of resampled matrices in which one network serves both tasks.",
    ),
    "layers": (
        "Gradient conflict by layer",
        "Heatmap of the share of measurements at which the gradients of two tasks conflict, by "
        "pair of tasks and layer.",
        "Orange: conflict. Blue: agreement. Unrelated tasks: one half. Pairs that agree in the "
        "first layers and conflict in the last ones could share a trunk that branches in between.",
    ),
}


def audit_figures(
    audit: Audit,
    matrices: Sequence[AffinityMatrix],
    trace: Trace | None,
    stability: Stability | None,
    diagnosis: Diagnosis | None,
) -> dict[str, PageFigure]:
    """The figures of the page by name."""
    pictures = audit_pictures(audit, matrices, trace, stability, diagnosis)
    has_pairs = len(audit.tasks) <= MOST_PAIRED
    if not has_pairs:
        pictures = {name: p for name, p in pictures.items() if name.startswith(AT_ANY_SIZE)}
    texts = {**TEXTS, "graph": (*TEXTS["graph"][:2], TEXTS["graph"][2] + NUMBERS)}
    figures = page_figures(pictures, matrices, count(len(audit.tasks), "task"), audit.gates, texts)
    if has_pairs:
        return figures
    return {name: replace(figure, matrix=None) for name, figure in figures.items()}


def page_figures(
    pictures: Mapping[str, Picture],
    matrices: Sequence[AffinityMatrix],
    tasks: str,
    gates: Sequence[Gates | None] = (),
    texts: Mapping[str, tuple[str, str, str]] = TEXTS,
) -> dict[str, PageFigure]:
    """Pictures with their titles, descriptions and captions."""
    figures: dict[str, PageFigure] = {}
    for name, picture in pictures.items():
        kind, _, number = name.partition("-")
        position = None
        if kind == "heatmap":
            position = int(number or 1) - 1
            title, alt, caption = _heatmap_texts(matrices[position], tasks)
        elif kind == "gates":
            title, alt, caption = _gate_texts(gates[int(number) - 1], number)
        else:
            title, alt, caption = texts[name]
        figures[name] = PageFigure(name, title, alt.format(tasks=tasks), picture, caption, position)
    return figures


def _heatmap_texts(matrix: AffinityMatrix, tasks: str) -> tuple[str, str, str]:
    title, side = title_of(matrix), tasks_per_cell(len(matrix.tasks))
    if len(matrix.tasks) <= MOST_PAIRED:
        where = "The same numbers are in the JSON of this page."
        reading = "Point at a cell for its interval."
    else:
        where = reading = "The numbers are in affinity.csv, where a run has written it."
    if side > 1:
        reading = f"A cell is the mean of {side**2} pairs of neighbouring tasks. {reading}"
    return (
        title,
        f"Heatmap of the affinities between {tasks}, {title}: sources as rows, targets as "
        f"columns. {where}",
        f"{matrix.estimator or title}. {reading}",
    )


def _gate_texts(gates: Gates | None, number: str) -> tuple[str, str, str]:
    assert gates is not None
    n_replicates, n_gates, n_experts = gates.utilization.shape
    return (
        f"Gates of network {number}",
        f"Heatmap of the mean weight that each of {count(n_gates, 'gate')} gives to "
        f"{count(n_experts, 'expert')}, by replicate. The same numbers are in the JSON of this "
        "page.",
        "A single dark cell in a row: the gate uses one expert only. Equal rows: the gates do not "
        f"distinguish the tasks. {count(n_replicates, 'replicate')} in all.",
    )
