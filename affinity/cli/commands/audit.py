"""`affinity audit`: all stages, from a table to the page."""

from rich.markup import escape

from affinity.cli import flags

from .telling import fail_if_harmed, said, say_answer
from .typed import later_options, recorded_options, typed


def audit(
    source: flags.Source = None,
    targets: flags.Targets = None,
    target: flags.Target = None,
    task_column: flags.TaskColumn = None,
    kind: flags.KindOf = None,
    exclude: flags.Exclude = None,
    time_column: flags.TimeColumn = None,
    split_column: flags.SplitColumn = None,
    test_share: flags.TestShare = None,
    validation_share: flags.ValidationShare = None,
    width: flags.Width = None,
    depth: flags.Depth = None,
    epochs: flags.Epochs = None,
    batch_size: flags.BatchSize = None,
    learning_rate: flags.LearningRate = None,
    patience: flags.Patience = None,
    every: flags.Every = None,
    runs: flags.Runs = None,
    seed: flags.Seed = None,
    estimator: flags.Estimator = None,
    budget: flags.Budget = None,
    overlap: flags.Overlap = None,
    sharing: flags.SharingChoice = None,
    verify: flags.Verify = None,
    race_minutes: flags.RaceMinutes = None,
    tolerance: flags.Tolerance = None,
    plan: flags.PlanChoice = None,
    replicates: flags.Replicates = None,
    minutes: flags.Minutes = None,
    max_replicates: flags.MaxReplicates = None,
    baselines: flags.Baselines = None,
    outer: flags.Outer = None,
    diagnose: flags.Diagnose = False,
    quick: flags.Quick = False,
    keep: flags.Keep = False,
    backend: flags.Backend = None,
    out: flags.Out = None,
    config: flags.Config = None,
    fail_on: flags.FailOn = None,
    as_json: flags.AsJson = False,
    junit: flags.Junit = None,
    quiet: flags.Quiet = False,
    debug: flags.Debug = False,
) -> None:
    """Find out which tasks should share a network, and what that is worth: all stages.

    One multi-task run is recorded, affinities are estimated, contending groupings race within the
    budget, and the one that won is retrained beside its baselines. A folder keeps it all; the same
    command goes on where it was stopped, and does nothing again that did not change.

    [bold]Examples[/bold]

      affinity audit digits
      affinity audit table.csv.gz --targets income,married,college --budget 2
      affinity audit long.parquet --task-column school --target score
      affinity audit visits.csv --targets click,buy --time-column day --kind buy=binary
      affinity audit digits --plan mine.yaml --fail-on harmful --junit audit.xml
      affinity audit table.csv --targets income,married,college --outer 5
    """
    from affinity.cli.causes import show_diagnosis
    from affinity.cli.drawing_anew import check_draws, drawn_anew, show_draws
    from affinity.cli.opening import started
    from affinity.cli.options import gather
    from affinity.cli.run_files import OUTER
    from affinity.cli.stages.all import audited
    from affinity.cli.stages.diagnose import diagnosis_of

    options = gather(recorded_options(locals()) | later_options(locals()), config)
    check_draws(options, outer)
    with said(quiet, as_json) as console:
        with started(options, out, console, typed()) as work:
            measured, page = audited(
                work, keep=keep, backend=backend, with_causes=diagnose, quick=quick
            )
        say_answer(console, measured, as_json=as_json, junit=junit)
        if diagnose and (diagnosis := diagnosis_of(work)) is not None:
            show_diagnosis(console, diagnosis)
        console.print(f"Report: [bold]{escape(str(page))}[/bold]", soft_wrap=True)
        if outer is not None:
            folder = work.run.path
            found = drawn_anew(measured, options, folder, outer, console, typed(), backend)
            show_draws(console, found, folder / OUTER)
    fail_if_harmed(console, measured, fail_on)
