"""A stored audit: every score of every replicate in one file, read back as it was."""

from dataclasses import asdict, astuple
from pathlib import Path
from typing import Any

from torch import Tensor

from affinity.errors import InputError
from affinity.estimates import AffinityMatrix
from affinity.recommendation import Plan
from affinity.sharing import Cost
from affinity.statistics import Gains, NegativeTransferTest
from affinity.tasks import (
    Accuracy,
    BinaryCrossEntropy,
    CrossEntropy,
    RocAuc,
    RSquared,
    SquaredError,
    Task,
)
from affinity.tensor_file import read_tensors, write_tensors

from .audit import Audit
from .evaluated_plan import EvaluatedPlan
from .gates import Gates

KIND, VERSION = "audit", 2
LOSSES = {kind.__name__: kind for kind in (BinaryCrossEntropy, CrossEntropy, SquaredError)}
METRICS = {kind.__name__: kind for kind in (RocAuc, Accuracy, RSquared)}
GATES = ("utilization", "entropy", "polarized", "identical")
SCORES = ("test", "evaluation", "metrics")


def save_audit(audit: Audit, path: str | Path) -> Path:
    """Write everything that `load_audit` needs, `trained` networks excepted.

    Raises:
        InputError: If a task has a loss or a metric of one's own, which a file cannot hold.
    """
    tensors: dict[str, Tensor] = {}
    for name, arrangement in audit.arrangements.items():
        for part in SCORES:
            gains: Gains = getattr(arrangement, part)
            tensors[f"{name}/{part}/scores"] = gains.scores
            tensors[f"{name}/{part}/baseline"] = gains.baseline
            if gains.score_blocks is not None and gains.baseline_blocks is not None:
                tensors[f"{name}/{part}/score_blocks"] = gains.score_blocks
                tensors[f"{name}/{part}/baseline_blocks"] = gains.baseline_blocks
    for number, gates in enumerate(audit.gates):
        for part in GATES if gates is not None else ():
            tensors[f"gates/{number}/{part}"] = getattr(gates, part)
    matrix = audit.matrix
    if matrix is not None:
        for part in ("values", "standard_error", "n_steps"):
            if (value := getattr(matrix, part)) is not None:
                tensors[f"affinity/{part}"] = value
    about = {
        "problem": audit.problem,
        "tasks": [_of_task(task) for task in audit.tasks],
        "plan": audit.plan.to_yaml(),
        "arrangements": {
            name: {
                "plan": arrangement.plan.to_yaml(),
                "parameters": arrangement.parameters,
                "seconds": arrangement.seconds,
                "multiply_adds": arrangement.multiply_adds,
                "costs": [astuple(cost) for cost in arrangement.costs],
            }
            for name, arrangement in audit.arrangements.items()
        },
        "gates": [None if gates is None else gates.tasks for gates in audit.gates],
        "affinity": None if matrix is None else [list(matrix.tasks), matrix.estimator],
        "test": asdict(audit.test),
        "context": dict(audit.context),
    }
    return write_tensors(path, tensors, about, KIND, VERSION)


def load_audit(path: str | Path) -> Audit:
    """Read what `save_audit` wrote.

    Raises:
        InputError: If the file is missing, truncated, something else, or of another version.
    """
    tensors, about = read_tensors(path, KIND, VERSION)
    tasks = tuple(
        Task(
            entry["name"],
            LOSSES[entry["loss"]](),
            METRICS[entry["metric"]](),
            entry["higher_is_better"],
            entry["n_outputs"],
        )
        for entry in about["tasks"]
    )
    names = tuple(task.name for task in tasks)

    def gains(arrangement: str, part: str) -> Gains:
        key = f"{arrangement}/{part}"
        better = tuple(task.higher_is_better for task in tasks) if part == "metrics" else None
        return Gains(
            names,
            tensors[f"{key}/scores"],
            tensors[f"{key}/baseline"],
            better,
            tensors.get(f"{key}/score_blocks"),
            tensors.get(f"{key}/baseline_blocks"),
        )

    matrix = None
    if about["affinity"] is not None:
        columns, estimator = about["affinity"]
        matrix = AffinityMatrix(
            tasks=tuple(columns),
            values=tensors["affinity/values"],
            standard_error=tensors.get("affinity/standard_error"),
            n_steps=tensors.get("affinity/n_steps"),
            estimator=estimator,
        )
    return Audit(
        problem=about["problem"],
        tasks=tasks,
        plan=Plan.from_yaml(about["plan"], tasks=names),
        arrangements={
            name: EvaluatedPlan(
                plan=Plan.from_yaml(entry["plan"], tasks=names),
                test=gains(name, "test"),
                evaluation=gains(name, "evaluation"),
                metrics=gains(name, "metrics"),
                parameters=entry["parameters"],
                seconds=entry["seconds"],
                multiply_adds=entry["multiply_adds"],
                costs=tuple(Cost(*cost) for cost in entry.get("costs", ())),
            )
            for name, entry in about["arrangements"].items()
        },
        matrix=matrix,
        test=NegativeTransferTest(**(about["test"] | {"looks": _pairs(about["test"]["looks"])})),
        context=about["context"],
        gates=tuple(
            None
            if names is None
            else Gates(tuple(names), *(tensors[f"gates/{number}/{part}"] for part in GATES))
            for number, names in enumerate(about.get("gates", ()))
        ),
    )


def _pairs(looks: list[list[Any]]) -> Any:
    """Lists as JSON has them, as the pairs that they were."""
    return tuple((count, share) for count, share in looks)


def _of_task(task: Task) -> dict[str, object]:
    loss, metric = type(task.loss).__name__, type(task.metric).__name__
    if loss not in LOSSES or metric not in METRICS:
        raise InputError(
            f"Expected task {task.name!r} to have a loss among {list(LOSSES)} and a metric among "
            f"{list(METRICS)}, which a file can name, but got {loss} and {metric}."
        )
    return {
        "name": task.name,
        "loss": loss,
        "metric": metric,
        "higher_is_better": task.higher_is_better,
        "n_outputs": task.n_outputs,
    }
