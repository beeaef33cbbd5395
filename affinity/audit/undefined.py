"""What an audit cannot tell, and why: said beside its numbers."""

from collections.abc import Mapping

from affinity.problems import Problem

from .evaluated_plan import EvaluatedPlan
from .metric_name import metric_name

FEWEST_ROWS = 2


def undefined(problem: Problem, arrangements: Mapping[str, EvaluatedPlan]) -> list[str]:
    """Notes on trainings that failed, metrics that are undefined, and too few test rows."""
    notes: list[str] = []
    for name, arrangement in arrangements.items():
        lost = arrangement.test.scores.isnan()  # replicate task
        if bool(lost.any()):
            tasks = [
                task
                for task, is_lost in zip(problem.names, lost.any(dim=0), strict=True)
                if is_lost
            ]
            notes.append(
                f"{name!r} failed to train on {int(lost.any(dim=1).sum())} of {len(lost)} "
                f"replicates (a loss became NaN or infinite): its gains for {_some(tasks)} are "
                "missing. A smaller learning rate may help."
            )
    labels = problem.test.labelled.sum(dim=0).tolist()
    for at, (task, count) in enumerate(zip(problem.tasks, labels, strict=True)):
        if count < FEWEST_ROWS:
            notes.append(
                f"Task {task.name!r} has {_rows(count)}: there is no interval for other test rows, "
                "and no verdict. Label more, or leave the task out."
            )
        metrics = arrangements["separate"].metrics.scores[:, at]
        losses = arrangements["separate"].test.scores[:, at]
        if bool((metrics.isnan() & ~losses.isnan()).any()):
            values = problem.test.targets[:, at]
            has_one = len(values[~values.isnan()].unique()) < 2
            why = "its test rows have one class or value only" if has_one else "on its test rows"
            notes.append(
                f"The {metric_name(task)} of task {task.name!r} is missing: it is undefined, "
                f"{why}. The verdict rests on the loss. Test rows of every class or with other "
                "values would define it."
            )
    if len(problem.tasks) > len(problem.test):
        notes.append(
            f"There are more tasks ({len(problem.tasks)}) than test rows ({len(problem.test)}): "
            "verdicts are about these few rows. Gather more, or set a larger share aside "
            "(test_share)."
        )
    return notes


def _rows(number: int) -> str:
    return f"{number or 'no'} labelled test {'row' if number == 1 else 'rows'}"


def _some(tasks: list[str], most: int = 5) -> str:
    shown = ", ".join(map(repr, tasks[:most]))
    return shown if len(tasks) <= most else f"{shown} and {len(tasks) - most} more"
