"""Few shots in the terminal: the problem asked for, the table, and the files."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from affinity.errors import InputError
from affinity.fewshot import (
    FewShotProblem,
    FewShotResult,
    MetaTraining,
    few_shot_digits,
    few_shot_sines,
    few_shot_table,
)
from affinity.files import write_atomically
from affinity.storage import save, to_jsonable
from affinity.words import count

BUILT_IN = ("digits", "sines")
WAYS = 5


@dataclass(frozen=True)
class FewShotOptions:
    """What was asked for; a value of None is chosen from the data."""

    source: str
    target: str | None
    task_column: str | None
    exclude: tuple[str, ...]
    test_classes: tuple[str, ...]
    ways: int | None
    queries: int | None
    steps: tuple[int, ...]
    iterations: int
    batch: int | None
    inner_rate: float | None
    width: int | None
    depth: int | None
    seed: int

    def problem(self, shots: Sequence[int]) -> FewShotProblem:
        """Read the table, or make the built-in problem, for these shots.

        Raises:
            InputError: If options do not fit each other or the data.
        """
        for name in ("width", "depth", "queries"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise InputError(f"Expected {name} of at least 1, but got {value}.")
        problem = self._read()
        changes = {
            name: value
            for name in ("queries", "inner_rate")
            if (value := getattr(self, name)) is not None
        }
        return replace(problem, shots=min(shots), steps=self.steps, **changes)

    def _read(self) -> FewShotProblem:
        settings = MetaTraining(iterations=self.iterations, batch=self.batch)
        size = {} if self.width is None else {"width": self.width}
        test_classes = self.test_classes or None
        if self.source in BUILT_IN and not Path(self.source).exists():
            self._refuse(target=self.target, task_column=self.task_column, depth=self.depth)
            if self.source == "sines":
                self._refuse(ways=self.ways, test_classes=test_classes)
                return few_shot_sines(settings, **size)
            ways = WAYS if self.ways is None else self.ways
            return few_shot_digits(ways, test_classes, settings, seed=self.seed, **size)
        if not Path(self.source).exists():
            raise InputError(
                f"Expected a table or one of the built-in problems {list(BUILT_IN)}, but there is "
                f"no file {self.source!r}."
            )
        if self.target is None:
            raise InputError(
                "Expected the column of classes (--target species), or a task column and what its "
                "tasks predict (--task-column school --target score)."
            )
        if self.task_column is not None:
            self._refuse(ways=self.ways, test_classes=test_classes)
        return few_shot_table(
            self.source,
            self.target,
            task_column=self.task_column,
            ways=WAYS if self.ways is None else self.ways,
            queries=self.queries,
            test_classes=test_classes,
            exclude=self.exclude,
            depth=2 if self.depth is None else self.depth,
            settings=settings,
            seed=self.seed,
            **size,
        )

    def _refuse(self, **options: object) -> None:
        given = [name for name, value in options.items() if value is not None]
        if given:
            named = ", ".join(f"--{name.replace('_', '-')}" for name in given)
            raise InputError(
                f"Expected no {named} here: {self.source!r} has none to choose. Leave it out."
            )


def numbers(flag: str, text: str) -> tuple[int, ...]:
    """Whole numbers with commas between.

    Raises:
        InputError: If it is anything else.

    Example:
        >>> numbers("--shots", "1, 5")
        (1, 5)
    """
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(
            f"Expected whole numbers with commas between for {flag}, like 1,5, but got {text!r}."
        ) from error


def show_result(console: Console, result: FewShotResult) -> None:
    """Print the scores, one row per method; then the advice."""
    summary = result.summary()
    rows = {(r.method, r.shots): r for r in summary.rows if r.steps == summary.steps[-1]}
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("method")
    for shots in summary.advised:
        table.add_column(count(shots, "shot"), justify="right", no_wrap=True)
        table.add_column("gain", justify="right", no_wrap=True)
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
    for warning in summary.warnings:
        console.print(f"[yellow]Warning:[/yellow] {escape(warning)}")
    for line in summary.advice:
        console.print(f"[bold]Advice, {escape(line)}[/bold]")
    console.print(
        "(The simplest method that is not significantly worse than the best on validation tasks.)",
        style="dim",
    )


def write_result(result: FewShotResult, folder: Path) -> list[Path]:
    """Write the results, their summary (JSON and CSV), a page, and a picture per shots."""
    from affinity.report import fewshot_pictures, write_fewshot

    summary = result.summary()
    text = json.dumps(to_jsonable(summary), indent=1, ensure_ascii=False)
    return [
        save(result, folder / "fewshot.safetensors"),
        write_atomically(folder / "fewshot.json", text + "\n"),
        write_atomically(folder / "fewshot.csv", result.frame().to_csv(index=False)),
        write_fewshot(summary, folder / "fewshot.html"),
        *(
            picture.save(folder / f"{name}.png")
            for name, picture in fewshot_pictures(summary).items()
        ),
    ]


def _with_half(value: float, high: float, sign: str = "") -> str:
    text = f"{value:{sign}.3f}"
    return text if math.isnan(high) else f"{text} ± {high - value:.3f}"
