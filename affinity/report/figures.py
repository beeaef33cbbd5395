"""The figures of the page: every picture with its title, its caption, and words in its place."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from affinity.audit import Audit
from affinity.estimates import AffinityMatrix
from affinity.grouping import Stability
from affinity.recording import Trace
from affinity.words import count

from .drawing import inline_svg
from .pictures import pictures_of, title_of
from .rendering import Figure


def figures_of(
    audit: Audit,
    matrices: Sequence[AffinityMatrix],
    trace: Trace | None,
    stability: Stability | None,
    diagnosis: Mapping[str, Any] | None,
) -> dict[str, Figure]:
    """The pictures of the page by name, each with a title, a caption, and words in its place."""
    n_tasks = count(len(audit.tasks), "task")
    said = {
        "gains": (
            "Measured gains",
            f"Dot plot of the gain of each of {n_tasks} over its separate network, with intervals, "
            "under the plan and other arrangements. The same numbers are in the table below.",
            "",
        ),
        "graph": (
            "Task graph",
            f"{n_tasks} in a circle, network by network, with an arrow for each affinity that is "
            "beyond its noise.",
            "Arrows run from source to target, at most three onto each task; blue helps, orange "
            "and dashed harms, wider is stronger. Numbers in brackets are the networks.",
        ),
        "over-time": (
            "Affinity over time",
            f"The affinities between {n_tasks} in consecutive parts of the run.",
            "Consecutive parts of the recorded run, on one scale. Affinities that change sign are "
            "a weak reason to group: near a joint optimum even related tasks seem to oppose each "
            "other.",
        ),
        "causes": (
            "What changes recovered",
            "Dot plot of what each change recovered of the harm, with intervals, grouped by cause. "
            "The same numbers are in the table below.",
            "",
        ),
        "together": (
            "How often two tasks stay together",
            "In which share of redrawn matrices one network serves two tasks.",
            "Percent of redrawn matrices in which one network serves both tasks.",
        ),
        "layers": (
            "Conflict by layer",
            "For each pair of tasks and each layer the share of measurements at which the two "
            "gradients point apart.",
            "Orange pairs conflict, blue ones agree, a half is what unrelated tasks show. Pairs "
            "that agree in the first layers and conflict in the last could share a trunk that "
            "branches in between.",
        ),
    }
    figures: dict[str, Figure] = {}
    for name, picture in pictures_of(audit, matrices, trace, stability, diagnosis).items():
        if name.startswith("heatmap"):
            at = int(name.partition("-")[2] or 1) - 1
            title = title_of(matrices[at])
            alt = (
                f"Heatmap of the affinities between {n_tasks}, {title}: sources as rows, targets "
                "as columns. The same numbers are in the JSON of this page."
            )
            caption = f"{matrices[at].estimator or title}. Point at a cell for its interval."
        elif name.startswith("gates"):
            at, (title, alt, caption) = None, _of_gates(audit, int(name.partition("-")[2]))
        else:
            at, (title, alt, caption) = None, said[name]
        svg = Markup(inline_svg(picture, name))
        figures[name] = Figure(name, title, alt, svg, caption, at)
    return figures


def _of_gates(audit: Audit, number: int) -> tuple[str, str, str]:
    gates = audit.gates[number - 1]
    assert gates is not None
    n_gates, n_experts = gates.utilization.shape[1:]
    return (
        f"Gates of network {number}",
        f"Heatmap of the mean weight that each of {count(n_gates, 'gate')} gives to "
        f"{count(n_experts, 'expert')}, replicate by replicate. The same numbers are in the JSON "
        "of this page.",
        "One dark cell in a row: the gate takes a single expert. Rows that are all alike: the "
        f"gates do not tell the tasks apart. Of {count(gates.n_replicates, 'replicate')}.",
    )
