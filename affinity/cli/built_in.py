"""What is built in: problems, estimators, solvers, ways to share."""

import inspect
from collections.abc import Mapping
from functools import partial

from rich.console import Console
from rich.markup import escape

from affinity.estimates import ESTIMATORS
from affinity.fewshot import METHODS
from affinity.grouping import SOLVERS
from affinity.sharing import SHARINGS
from affinity.transfer import RECIPES

from .options import BUILT_IN


def show_built_in(console: Console) -> None:
    """Every table of methods, with the first line of what each says of itself."""
    tables: dict[str, Mapping[str, object]] = {
        "Problems (affinity audit NAME)": BUILT_IN,
        "Estimators (--estimator NAME)": ESTIMATORS,
        "Solvers (affinity.solve(..., solver=NAME))": SOLVERS,
        "Ways to share (affinity.sharing.SHARINGS)": SHARINGS,
        "Few-shot methods (affinity fewshot --methods NAME)": METHODS,
        "Recipes (affinity transfer --recipe NAME)": RECIPES,
    }
    for heading, methods in tables.items():
        console.print(f"[bold]{heading}[/bold]")
        for name, method in methods.items():
            console.print(f"  {escape(name):22} {escape(_first_line(method))}".rstrip())


def _first_line(method: object) -> str:
    if isinstance(method, partial):
        settings = ", ".join(f"{name}={value!r}" for name, value in method.keywords.items())
        return f"{_first_line(method.func)} With {settings}."
    is_own = inspect.isroutine(method) or inspect.isclass(method)
    text = (method if is_own else type(method)).__doc__ or ""
    return text.strip().partition("\n")[0]
