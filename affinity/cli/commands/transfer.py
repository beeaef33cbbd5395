"""`affinity transfer`: what to learn first, and how to tune from there."""

import json
import shlex
from typing import Annotated, Any

import typer
from rich.markup import escape

from affinity.cli import flags

from .telling import said
from .typed import recorded_options, typed

TRANSFER = "Transfer"


def transfer(
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
    seed: flags.Seed = None,
    replicates: Annotated[
        int | None,
        typer.Option(help="Resamplings of rows and seeds. [5]", rich_help_panel=TRANSFER),
    ] = None,
    recipe: Annotated[
        str,
        typer.Option(
            help="How targets are tuned; `affinity problems` lists the ways. 'best' measures all "
            "and chooses one a pair by cross-validation.",
            rich_help_panel=TRANSFER,
        ),
    ] = "full fine-tuning",
    tuning_plan: Annotated[
        str | None,
        typer.Option(help="Tune by this plan: an edited YAML file.", rich_help_panel=TRANSFER),
    ] = None,
    plan_only: Annotated[
        bool,
        typer.Option(
            "--plan-only",
            help="Only write the recipe's phases -> tuning.yaml, to be edited.",
            rich_help_panel=TRANSFER,
        ),
    ] = False,
    sources: Annotated[
        list[str] | None,
        typer.Option(
            "--from",
            help="A source: a task, 'all others', 'own inputs'; repeat it. \\[all]",
            rich_help_panel=TRANSFER,
        ),
    ] = None,
    onto: Annotated[
        list[str] | None,
        typer.Option(
            "--to",
            help="A task to bring them to; repeat it. \\[all]",
            rich_help_panel=TRANSFER,
        ),
    ] = None,
    group: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=TASK,TASK: a source of several tasks; repeat it.", rich_help_panel=TRANSFER
        ),
    ] = None,
    weights: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=FILE: a source whose trunk is in a safetensors file; repeat it.",
            rich_help_panel=TRANSFER,
        ),
    ] = None,
    rows: Annotated[
        str | None,
        typer.Option(
            help="Follow each target's best source over so many rows of the target: 25,50,100.",
            rich_help_panel=TRANSFER,
        ),
    ] = None,
    joint: Annotated[
        bool,
        typer.Option(
            "--joint",
            help="Train each pair jointly, too: joint, sequential, or neither?",
            rich_help_panel=TRANSFER,
        ),
    ] = False,
    distortion: Annotated[
        bool,
        typer.Option(
            "--distortion",
            help="Measure what every recipe does to the representation and to losses, on rows like "
            "those learned from and on shifted ones.",
            rich_help_panel=TRANSFER,
        ),
    ] = False,
    out: flags.Out = None,
    config: flags.Config = None,
    png: flags.Png = False,
    as_json: flags.AsJson = False,
    quiet: flags.Quiet = False,
    debug: flags.Debug = False,
) -> None:
    """Find out what to learn first for each task, and what that is worth -> transfer.json.

    A trunk is trained on each source and brought to each target, beside the target from scratch,
    on the same replicates; pretraining on the target's own inputs stands beside every source.

    [bold]Examples[/bold]

      affinity transfer digits
      affinity transfer digits --from odd --from prime --to loop --rows 25,50,100,200
      affinity transfer table.csv --targets a,b,c --recipe best --joint
      affinity transfer digits --recipe "gradual unfreezing" --plan-only
    """
    from affinity.cli.opening import started
    from affinity.cli.options import gather
    from affinity.cli.run_files import TRANSFER_PAGE
    from affinity.cli.stages.transfer import TransferRequest, run_transfer, write_tuning_plan
    from affinity.cli.transfer_summary import show_transfer, write_pictures
    from affinity.storage import to_jsonable

    given: dict[str, Any] = {**locals(), "every": None, "runs": None}
    options = gather(recorded_options(given) | {"replicates": replicates}, config)
    request = TransferRequest(
        recipe=recipe,
        tuning_plan=tuning_plan,
        sources=tuple(sources or ()),
        targets=tuple(onto or ()),
        groups={
            name: _names(value) for name, value in _pairs(group, "--group", "TASK,TASK").items()
        },
        weights=_pairs(weights, "--weights", "FILE"),
        sizes=_sizes(rows),
        is_joint=joint,
        is_distortion=distortion,
    )
    with said(quiet, as_json) as console, started(options, out, console, typed()) as work:
        if plan_only:
            file = write_tuning_plan(work, request)
            console.print(
                f"Wrote {escape(str(file))}. Edit it, then: affinity transfer "
                f"{escape(shlex.quote(options.source))} --tuning-plan "
                f"{escape(shlex.quote(str(file)))}",
                soft_wrap=True,
            )
            return
        summary = run_transfer(work, request)
        show_transfer(console, summary)
        console.print(
            f"Report: [bold]{escape(str(work.run.file(TRANSFER_PAGE)))}[/bold]", soft_wrap=True
        )
        if png:
            write_pictures(work, summary)
        if as_json:
            print(json.dumps(to_jsonable(summary), ensure_ascii=False))


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",")) if text else ()


def _pairs(given: list[str] | None, flag: str, what: str) -> dict[str, str]:
    from affinity.errors import InputError

    found: dict[str, str] = {}
    for each in given or ():
        name, equals, value = each.partition("=")
        if not (name and equals and value):
            raise InputError(f"Expected {flag} NAME={what}, but got {each!r}.")
        found[name] = value
    return found


def _sizes(text: str | None) -> tuple[int, ...]:
    from affinity.errors import InputError

    sizes = _names(text)
    if not all(size.isdecimal() and int(size) >= 2 for size in sizes):
        raise InputError(f"Expected --rows as numbers from 2 on, like 25,50,100, but got {text!r}.")
    return tuple(map(int, sizes))
