"""`affinity retrain`: a plan beside its baselines."""

import shlex

from affinity.cli import flags

from .telling import fail_if_harmed, said, say_answer, say_next


def retrain(
    run: flags.Run,
    plan: flags.PlanChoice = None,
    replicates: flags.Replicates = None,
    minutes: flags.Minutes = None,
    max_replicates: flags.MaxReplicates = None,
    baselines: flags.Baselines = None,
    tolerance: flags.Tolerance = None,
    keep: flags.Keep = False,
    backend: flags.Backend = None,
    fail_on: flags.FailOn = None,
    as_json: flags.AsJson = False,
    junit: flags.Junit = None,
    quiet: flags.Quiet = False,
    debug: flags.Debug = False,  # noqa: ARG001
) -> None:
    """Train a plan beside separate networks and all-in-one, and judge it -> audit.json.

    The plan is the run's plan.yaml, edited or not, or what you do today: --plan mine.yaml.
    """
    from affinity.cli.opening import resumed
    from affinity.cli.stages.retrain import chosen_plan, retrained

    with (
        said(quiet, as_json) as console,
        resumed(
            run,
            console,
            replicates=replicates,
            minutes=minutes,
            max_replicates=max_replicates,
            baselines=baselines,
            tolerance=tolerance,
        ) as work,
    ):
        measured = retrained(work, chosen_plan(work, plan), keep=keep, backend=backend)
        say_answer(console, measured, as_json=as_json, junit=junit)
        if keep:
            console.print(f"Predict with it: affinity predict {shlex.quote(str(run))} new.csv")
        say_next(console, "report", run)
    fail_if_harmed(console, measured, fail_on)
