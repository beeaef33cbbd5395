"""Limitations: questions that an audit cannot answer, and why."""

from collections.abc import Mapping
from dataclasses import dataclass

from affinity.problems import Problem
from affinity.training import Minimax
from affinity.training.reference import constant_loss
from affinity.words import count, shorten

from .evaluated_plan import EvaluatedPlan
from .task_description import metric_name

FEWEST_ROWS = 2
MOST_DIFFERENT_SCALES = 10.0


@dataclass(frozen=True)
class Limitation:
    """One limitation of an audit.

    Args:
        code: A stable name for the cause.
        message: What is missing, why, and what to do.
        task: The task that it concerns, if it concerns a single one.
        candidate: The plan or baseline that it concerns, if it concerns a single one.
    """

    code: str
    message: str
    task: str | None = None
    candidate: str | None = None


def find_limitations(
    problem: Problem, candidates: Mapping[str, EvaluatedPlan]
) -> tuple[Limitation, ...]:
    """Failed trainings, undefined metrics, and too few test rows."""
    found: list[Limitation] = []
    for name, candidate in candidates.items():
        is_lost = candidate.test.scores.isnan()  # replicate task
        if bool(is_lost.any()):
            tasks = [
                task for task, lost in zip(problem.names, is_lost.any(dim=0), strict=True) if lost
            ]
            lost = shorten(map(repr, tasks), 5)
            message = (
                f"{name!r} failed to train on {int(is_lost.any(dim=1).sum())} of {len(is_lost)} "
                f"replicates (a loss became NaN or infinite): its gains for {lost} are "
                "missing. A smaller learning rate may help."
            )
            found.append(Limitation("failed-training", message, candidate=name))
    labels = problem.test.labelled.sum(dim=0).tolist()
    for column, (task, n_labels) in enumerate(zip(problem.tasks, labels, strict=True)):
        if n_labels < FEWEST_ROWS:
            rows = count(n_labels, "labelled test row") if n_labels else "no labelled test rows"
            message = (
                f"Task {task.name!r} has {rows}: there is no interval for other test rows, and no "
                "verdict. Label more, or leave the task out."
            )
            found.append(Limitation("few-labels", message, task.name))
        metrics = candidates["separate"].metrics.scores[:, column]
        losses = candidates["separate"].test.scores[:, column]
        if bool((metrics.isnan() & ~losses.isnan()).any()):
            values = problem.test.targets[:, column]
            has_one = len(values[~values.isnan()].unique()) < 2
            why = "its test rows have one class or value only" if has_one else "on its test rows"
            message = (
                f"The {metric_name(task)} of task {task.name!r} is missing: it is undefined, "
                f"{why}. The verdict rests on the loss. Test rows of every class or with other "
                "values would define it."
            )
            found.append(Limitation("undefined-metric", message, task.name))
    if len(problem.tasks) > len(problem.test):
        message = (
            f"There are more tasks ({len(problem.tasks)}) than test rows ({len(problem.test)}): "
            "verdicts are about these few rows. Gather more, or use a larger test share "
            "(test_share)."
        )
        found.append(Limitation("few-test-rows", message))
    if scales := _different_scales(problem):
        found.append(scales)
    return tuple(found)


def _different_scales(problem: Problem) -> Limitation | None:
    """Losses on scales so different that one task dominates the steps of a shared network."""
    objective = problem.settings.objective
    weights = objective.fixed_weights(problem.names) or [1.0] * len(problem.tasks)
    if objective.fixed_weights(problem.names) is None and not isinstance(objective, Minimax):
        return None  # the objective balances the losses itself
    scales = {
        task.name: weight * constant_loss(task, problem.development, problem.development, column)
        for column, (task, weight) in enumerate(zip(problem.tasks, weights, strict=True))
    }
    largest, smallest = max(scales, key=scales.__getitem__), min(scales, key=scales.__getitem__)
    ratio = scales[largest] / scales[smallest]
    if ratio <= MOST_DIFFERENT_SCALES:
        return None
    message = (
        f"Losses are on different scales: that of {largest!r} is {ratio:.3g} times that of "
        f"{smallest!r} (for the best constant predictions), so the former decides most of the "
        "training of a shared network. Compare --objective uncertainty, or weights of 1 / scale."
    )
    return Limitation("loss-scales", message)
