"""`affinity group`: a plan within the budget."""

import json

from affinity.cli import flags

from .telling import said, say_next


def group(
    run: flags.Run,
    budget: flags.Budget = None,
    overlap: flags.Overlap = None,
    sharing: flags.SharingChoice = None,
    verify: flags.Verify = None,
    race_minutes: flags.RaceMinutes = None,
    tolerance: flags.Tolerance = None,
    as_json: flags.AsJson = False,
    quiet: flags.Quiet = False,
    debug: flags.Debug = False,  # noqa: ARG001
) -> None:
    """Group the tasks within a budget -> plan.yaml, which is meant to be edited.

    frontier.csv has the best grouping for every other budget.
    """
    from affinity.cli.opening import resumed
    from affinity.cli.stages.group import grouped
    from affinity.cli.summary import show_plan

    with (
        said(quiet, as_json) as console,
        resumed(
            run,
            console,
            budget=budget,
            overlap=overlap,
            sharing=sharing,
            verify=verify,
            race_minutes=race_minutes,
            tolerance=tolerance,
        ) as work,
    ):
        plan = grouped(work)
        show_plan(console, plan)
        if as_json:
            print(json.dumps(plan.to_dict(), ensure_ascii=False))
        say_next(console, "retrain", run)
