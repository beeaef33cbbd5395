"""Few shots in the terminal: the problem, the table, and the files."""

import math
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from affinity.errors import InputError
from affinity.fewshot import (
    FewShotProblem,
    FewShotResult,
    MetaTraining,
    compare_few_shot,
    few_shot_digits,
    few_shot_sines,
    few_shot_table,
    methods_for,
)
from affinity.files import write_atomically
from affinity.storage import save, write_json
from affinity.words import count

from .console import plain_table, print_note
from .early_checks import OF_TABLES, check_source, reading_options, refuse_unused
from .options import FewShotOptions
from .run import typed_command, versions

BUILT_IN = ("digits", "sines")
NOT_BUILT_IN = (*OF_TABLES, "target", "task_column", "depth")  # options of tables only
WAYS = 5


def compare_methods(options: FewShotOptions, console: Console) -> FewShotResult:
    """Print notes on the data; train and evaluate every requested method."""
    problem = read_few_shot_problem(options)
    for note in problem.notes:
        print_note(console, note.message, is_warning=note.severity != "note")
    result = compare_few_shot(
        problem,
        options.shots,
        methods_for(problem, list(options.methods) or None),
        options.tasks,
        options.replicates,
        options.seed,
    )
    made = {"source": options.source, "command": typed_command(), "versions": versions()}
    return replace(result, context={**result.context, **made})


def read_few_shot_problem(options: FewShotOptions) -> FewShotProblem:
    """Read the table, or make the built-in problem."""
    names = ("queries", "inner_rate")
    chosen = {name: value for name in names if (value := getattr(options, name)) is not None}
    return replace(_read(options), shots=min(options.shots), steps=options.steps, **chosen)


def _read(options: FewShotOptions) -> FewShotProblem:
    settings = MetaTraining(
        iterations=options.iterations, batch=options.batch, device=options.device or "auto"
    )
    size = {} if options.width is None else {"width": options.width}
    ways = WAYS if options.ways is None else options.ways
    is_file = Path(options.source).exists()
    where = f"by the built-in problem {options.source!r}"
    if options.source == "sines" and not is_file:
        refuse_unused(options, (*NOT_BUILT_IN, "ways", "test_classes"), where)
        return few_shot_sines(settings, **size)
    if options.source == "digits" and not is_file:
        refuse_unused(options, NOT_BUILT_IN, where)
        classes = options.test_classes or None
        return few_shot_digits(ways, classes, settings, seed=options.seed, **size)
    check_source(options.source, BUILT_IN)
    if options.target is None:
        raise InputError(
            "Expected the column of classes (--target species), or a task column and what its "
            "tasks predict (--task-column school --target score).",
            "no-target",
        )
    if options.task_column is not None:
        refuse_unused(options, ("ways",), "with --task-column")
    return few_shot_table(
        options.source,
        options.target,
        task_column=options.task_column,
        ways=ways,
        queries=options.queries,
        test_classes=options.test_classes or None,
        exclude=options.exclude,
        reading=reading_options(options),
        depth=2 if options.depth is None else options.depth,
        settings=settings,
        seed=options.seed,
        **size,
    )


def show_result(console: Console, result: FewShotResult) -> None:
    """Print the scores, one row per method; then the advice."""
    summary = result.summary()
    rows = {(r.method, r.shots): r for r in summary.rows if r.steps == summary.steps[-1]}
    headings = [h for shots in summary.advised for h in (f"{count(shots, 'shot')}>", "gain>")]
    table = plain_table("method", *headings)
    for method in dict.fromkeys(method for method, _ in rows):
        cells: list[str] = []
        for shots in summary.advised:
            row = rows[method, shots]
            has_gain = method != "from scratch" and not math.isnan(row.better)
            cells.append(_with_half(row.score, row.high))
            cells.append(_with_half(row.better, row.better_high, "+") if has_gain else "")
        name = escape(method)
        table.add_row(
            f"[bold]{name}[/bold]" if method in summary.advised.values() else name, *cells
        )
    console.print(table)
    tasks = count(summary.n_tasks, "meta-test task")
    over = (
        f"{tasks} after one meta-training (--replicates 5 includes others)"
        if summary.replicates == 1
        else f"{tasks} and {summary.replicates} meta-trainings"
    )
    console.print(
        f"Mean {summary.score} on query rows after {count(summary.steps[-1], 'gradient step')} "
        f"({'higher' if result.sign > 0 else 'lower'} is better), 95 % intervals over {over}; "
        "gain: paired improvement over training from scratch.",
        style="dim",
    )
    if result.shift.warning is not None:
        print_note(console, result.shift.warning, is_warning=True)
    shift = summary.distribution_shift
    console.print(
        f"Meta-test against meta-training tasks: p = {shift.p_value:.3g}. {shift.scope}",
        style="dim",
        soft_wrap=True,
    )
    for line in summary.advice:
        console.print(f"[bold]Advice, {escape(line)}[/bold]")
    console.print(
        "(The simplest method that is not significantly worse than the best on validation tasks.)",
        style="dim",
    )


def write_result(result: FewShotResult, folder: Path) -> list[Path]:
    """Write the results, their summary (JSON and CSV), a page, and a picture per shots."""
    from affinity.report import fewshot_pictures, write_report

    summary = result.summary()
    write_json(summary, folder / "fewshot.json")
    return [
        save(result, folder / "fewshot.safetensors"),
        folder / "fewshot.json",
        write_atomically(folder / "fewshot.csv", result.frame().to_csv(index=False)),
        write_report(summary, folder / "fewshot.html"),
        *(
            picture.save(folder / f"{name}.png")
            for name, picture in fewshot_pictures(summary).items()
        ),
    ]


def _with_half(value: float, high: float, sign: str = "") -> str:
    text = f"{value:{sign}.3f}"
    return text if math.isnan(high) else f"{text} ± {high - value:.3f}"
