"""`affinity fewshot`: learning from few rows, with every method beside each other."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from affinity.cli import flags

from .telling import said
from .typed import typed

EPISODES = "Episodes"


def fewshot(
    source: Annotated[
        str, typer.Argument(help="A table (CSV, also compressed, or Parquet), 'digits' or 'sines'.")
    ],
    target: Annotated[
        str | None,
        typer.Option(
            help="The column of classes; or what every task predicts.", rich_help_panel=flags.DATA
        ),
    ] = None,
    task_column: flags.TaskColumn = None,
    exclude: flags.Exclude = None,
    test_classes: Annotated[
        str | None,
        typer.Option(
            help="Classes kept for the meta-test, with commas between. \\[a third of them]",
            rich_help_panel=flags.DATA,
        ),
    ] = None,
    ways: Annotated[
        int | None, typer.Option(help="Classes a task. [5]", rich_help_panel=EPISODES)
    ] = None,
    shots: Annotated[
        str,
        typer.Option(
            help="Rows to adapt on, of every class; several with commas between.",
            rich_help_panel=EPISODES,
        ),
    ] = "1,5",
    queries: Annotated[
        int | None,
        typer.Option(help="Rows to be judged on, of every class.", rich_help_panel=EPISODES),
    ] = None,
    steps: Annotated[
        str,
        typer.Option(
            help="Judge after so many gradient steps, with commas between.",
            rich_help_panel=EPISODES,
        ),
    ] = "1,5,10",
    tasks: Annotated[
        int, typer.Option(help="Meta-test tasks that judge.", rich_help_panel=EPISODES)
    ] = 200,
    replicates: Annotated[
        int,
        typer.Option(
            help="Meta-trainings; with several, intervals hold for others, too.",
            rich_help_panel=EPISODES,
        ),
    ] = 1,
    methods: Annotated[
        str | None,
        typer.Option(
            help="Methods with commas between; `affinity problems` lists them. \\[all that fit]",
            rich_help_panel=EPISODES,
        ),
    ] = None,
    iterations: Annotated[
        int, typer.Option(help="Batches of meta-training.", rich_help_panel=flags.NETWORK)
    ] = 500,
    batch: Annotated[
        int | None,
        typer.Option(
            help="Tasks a batch. [32, or as many as there are]", rich_help_panel=flags.NETWORK
        ),
    ] = None,
    inner_rate: Annotated[
        float | None,
        typer.Option(help="Step size of the inner loop.", rich_help_panel=flags.NETWORK),
    ] = None,
    width: flags.Width = None,
    depth: flags.Depth = None,
    seed: flags.Seed = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="A folder for fewshot.html (the page), fewshot.json, fewshot.csv and pictures.",
            rich_help_panel=flags.OUTPUT,
        ),
    ] = None,
    as_json: flags.AsJson = False,
    quiet: flags.Quiet = False,
    debug: flags.Debug = False,  # noqa: ARG001
) -> None:
    """Find out how to learn new tasks from few rows: meta-learned, pretrained, or from scratch.

    Some classes (or tasks) are for learning, others for the meta-test. Every method learns from the
    same meta-training tasks and is judged on the same meta-test tasks, with 95 % intervals.

    [bold]Examples[/bold]

      affinity fewshot digits --ways 3 --shots 1,5 --test-classes 7,8,9
      affinity fewshot plants.csv --target species --ways 5 --shots 1,5
      affinity fewshot school.csv.gz --task-column school --target score --shots 5,10
      affinity fewshot sines --shots 5,10
    """
    from affinity.cli.few_shots import FewShotOptions, numbers, show_result, write_result
    from affinity.cli.opening import use_one_thread, versions
    from affinity.fewshot import compare_few_shot, methods_for
    from affinity.storage import to_jsonable

    options = FewShotOptions(
        source=source,
        target=target,
        task_column=task_column,
        exclude=tuple(exclude or ()),
        test_classes=tuple(test_classes.split(",")) if test_classes else (),
        ways=ways,
        queries=queries,
        steps=numbers("--steps", steps),
        iterations=iterations,
        batch=batch,
        inner_rate=inner_rate,
        width=width,
        depth=depth,
        seed=seed or 0,
    )
    use_one_thread()
    with said(quiet, as_json) as console:
        problem = options.problem(numbers("--shots", shots))
        chosen = methods_for(problem, methods.split(",") if methods else None)
        result = compare_few_shot(
            problem, numbers("--shots", shots), chosen, tasks, replicates, options.seed
        )
        made = {"source": source, "command": typed(), "versions": versions()}
        result = replace(result, context={**result.context, **made})
        show_result(console, result)
        if out is not None:
            for path in write_result(result, out):
                console.print(f"Wrote {escape(str(path))}", soft_wrap=True)
        if as_json:
            print(json.dumps(to_jsonable(result.summary()), ensure_ascii=False))
