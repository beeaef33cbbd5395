"""The settings of a study: its tasks and priors, checked, and as text."""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from affinity.errors import InputError
from affinity.estimates import AffinityMatrix, GradientCosine, InterTaskAffinity
from affinity.recording import Trace
from affinity.tasks import Score, check_names


def check_tasks(tasks: Mapping[str, Score | str]) -> dict[str, Score]:
    """The score of each task."""
    if not isinstance(tasks, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InputError(
            "Expected the score of each task, as in tasks={'click': 'maximize'}, but got "
            f"{tasks!r}.",
            "not-scores",
        )
    names = check_names(tasks)
    if len(names) < 2:
        raise InputError(f"Expected at least 2 tasks, but got {list(names)}.", "too-few-tasks")
    return {name: Score.of(tasks[name]) for name in names}


def read_priors(priors: Sequence[AffinityMatrix | Trace]) -> tuple[AffinityMatrix, ...]:
    """The matrices, and the affinities of recorded runs."""
    return tuple(map(_matrix_of, priors))


def _matrix_of(prior: AffinityMatrix | Trace) -> AffinityMatrix:
    if isinstance(prior, AffinityMatrix):
        return prior
    if not isinstance(prior, Trace):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InputError(
            "Expected affinity matrices or traces as prior, but got "
            f"{type(prior).__name__}. AffinityMatrix(tasks, values) makes a matrix of values.",
            "not-a-prior",
        )
    if prior.lookahead_losses is not None or prior.held_out_lookahead_losses is not None:
        return InterTaskAffinity()(prior)
    return GradientCosine()(prior)


def check_prior(matrices: Sequence[AffinityMatrix], tasks: tuple[str, ...]) -> None:
    """Raise an error if a matrix lacks a task."""
    for matrix in matrices:
        if missing := [task for task in tasks if task not in matrix.tasks]:
            raise InputError(
                f"Expected a prior with the tasks {list(tasks)}, but one has "
                f"{list(matrix.tasks)}: {missing} are missing.",
                "unknown-task",
            )


def digest(matrix: AffinityMatrix) -> str:
    """The estimator and a hash of names and values."""
    order = sorted(range(len(matrix.tasks)), key=matrix.tasks.__getitem__)
    values = matrix.values.double()[order][:, order].numpy()
    text = repr([sorted(matrix.tasks), np.round(values, 6).tolist()])
    return f"{matrix.estimator or ''}:{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def describe(value: object) -> str:
    """A setting as text."""
    if isinstance(value, dict):
        return (
            "{" + ", ".join(f"{name!r}: {describe(score)}" for name, score in value.items()) + "}"
        )
    if isinstance(value, Score):
        default = Score(value.direction)
        return repr(value.direction) if value == default else repr(value)
    return repr(value)
