"""What is built in: problems, estimators, solvers, ways to share, methods and recipes."""

import inspect
from collections.abc import Mapping
from functools import partial

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from affinity.estimates import ESTIMATORS
from affinity.fewshot import METHODS
from affinity.grouping import SOLVERS
from affinity.sharing import SHARINGS, SharingMethod
from affinity.training import OBJECTIVES, Weighted
from affinity.training.objectives import JacobianDescent
from affinity.transfer import RECIPES

from .source import BUILT_IN


def show_registries(console: Console) -> None:
    """Print every registry: the names, and the first line of each entry's docstring."""
    registries: dict[str, Mapping[str, object]] = {
        "Problems (affinity audit NAME)": BUILT_IN,
        "Estimators (--estimator NAME)": ESTIMATORS,
        "Solvers (affinity.solve(..., solver=NAME))": SOLVERS,
        "Ways to share (--sharing NAME, sharing: NAME in plan.yaml)": SHARINGS,
        "Objectives (--objective NAME)": {**OBJECTIVES, "weighted": Weighted},
        "Few-shot methods (affinity fewshot --methods NAME)": METHODS,
        "Recipes (affinity transfer --recipe NAME)": RECIPES,
    }
    for heading, entries in registries.items():
        console.print(f"[bold]{heading}[/bold]")
        rows = Table.grid(padding=(0, 2))
        rows.add_column(no_wrap=True, min_width=24)
        rows.add_column()
        for name, entry in entries.items():
            rows.add_row(f"  {escape(name)}", escape(_first_line(entry)))
        console.print(rows)


def _first_line(entry: object) -> str:
    if isinstance(entry, SharingMethod):
        settings = ", ".join(entry.settings)
        return entry.description + (f" Settings: {settings}." if settings else "")
    if isinstance(entry, partial):
        settings = ", ".join(f"{name}={value!r}" for name, value in entry.keywords.items())
        return f"{_first_line(entry.func)} With {settings}."
    if isinstance(entry, JacobianDescent):
        return f"{entry.aggregator} of TorchJD: a step from the gradients of all tasks."
    has_own = inspect.isroutine(entry) or inspect.isclass(entry)
    text = (entry if has_own else type(entry)).__doc__ or ""
    return text.strip().partition("\n")[0]
