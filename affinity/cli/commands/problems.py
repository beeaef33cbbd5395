"""`affinity problems`: what is built in."""

from rich.console import Console

from affinity.cli import flags


def problems(debug: flags.Debug = False) -> None:  # noqa: ARG001
    """List what is built in: problems, estimators, solvers, ways to share."""
    from affinity.cli.built_in import show_built_in

    show_built_in(Console())
