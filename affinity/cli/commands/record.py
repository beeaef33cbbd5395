"""`affinity record`: one multi-task run, watched."""

from affinity.cli import flags

from .telling import said, say_next
from .typed import recorded_options, typed


def record(
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
    out: flags.Out = None,
    config: flags.Config = None,
    quiet: flags.Quiet = False,
    debug: flags.Debug = False,
) -> None:
    """Watch one multi-task run: gradients and lookahead losses a task -> trace.safetensors.

    [bold]Example[/bold]

      affinity record table.csv --targets income,married,college --out runs/census
    """
    from affinity.cli.opening import started
    from affinity.cli.options import gather
    from affinity.cli.stages.record import recorded

    options = gather(recorded_options(locals()), config)
    with said(quiet) as console, started(options, out, console, typed()) as work:
        recorded(work)
        say_next(console, "estimate", work.run.path)
