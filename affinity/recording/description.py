"""What a recorder does, in words."""

from collections.abc import Sequence

from .progress import Method
from .schedule import Cost
from .settings import Settings
from .watched import Watched


def described(
    watched: Watched, settings: Settings, method: Method, cost: Cost, *, is_found: bool
) -> str:
    """What is recorded and how, what is shared, and what recording cost.

    Args:
        watched: Tasks and shared parameters.
        settings: How they are measured.
        method: How sketches are made.
        cost: Of all measurements so far.
        is_found: Whether the shared parameters were found rather than named.
    """
    parameters = watched.parameters
    modules = dict.fromkeys(name.rpartition(".")[0] or name for name in parameters)
    numbers = sum(parameter.numel() for parameter in parameters.values())
    how = "reached by at least two losses" if is_found else "as named"
    n_tasks = len(watched.tasks)
    lines = [
        f"{n_tasks} tasks: {', '.join(watched.tasks)}.",
        f"Shared, {how}: {numbers:,} numbers in {len(parameters)} parameters of "
        f"{', '.join(modules)}.",
        f"Gradients at the level of the {settings.level}; Gramians "
        f"{_gramians(settings, method, watched.tasks)}.",
        f"Lookahead at every {_every(settings)}measurement with a closure, "
        f"{settings.lookahead_sources(n_tasks)} of {n_tasks} sources each, a "
        f"{settings.step} step.",
        f"{cost.measurements} measurements took {cost.seconds:.2f} s, "
        f"{100 * cost.overhead:.1f} % of the run's own {cost.plain_seconds:.2f} s.",
    ]
    return "\n".join(lines)


def _gramians(settings: Settings, method: Method, tasks: Sequence[str]) -> str:
    directions = settings.directions(len(tasks))
    if not settings.gramians:
        return "not recorded"
    if directions and method == "none":
        return "exact: the graph can be differentiated neither twice nor forward"
    if directions:
        return f"sketched with {directions} random directions by {method}"
    return "exact" if settings.sources is None else f"exact, {settings.sources} sources in turn"


def _every(settings: Settings) -> str:
    every = settings.lookahead_every if settings.gramians else 1
    return "" if every == 1 else f"{every}. "
