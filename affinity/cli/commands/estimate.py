"""`affinity estimate`: affinities with their errors."""

from affinity.cli import flags

from .telling import said, say_next


def estimate(
    run: flags.Run,
    estimator: flags.Estimator = None,
    as_json: flags.AsJson = False,
    quiet: flags.Quiet = False,
    debug: flags.Debug = False,  # noqa: ARG001
) -> None:
    """Estimate what every task does to every other, with errors -> affinity.csv."""
    from affinity.cli.opening import resumed
    from affinity.cli.stages.estimate import estimated

    with said(quiet, as_json) as console, resumed(run, console, estimator=estimator) as work:
        matrix = estimated(work)
        if as_json:
            print(matrix.frame().to_json(orient="records"))
        say_next(console, "group", run)
