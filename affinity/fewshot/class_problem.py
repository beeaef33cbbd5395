"""A few-shot problem from labelled rows: meta-train on some classes, be judged on others."""

import random
from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from affinity.errors import InputError
from affinity.tasks import Task

from .class_family import ClassFamily
from .problem import FewShotProblem
from .random_numbers import generator_of
from .settings import MetaTraining


def split_classes(
    classes: Sequence[str], ways: int, test_classes: Sequence[str] | None, seed: int
) -> tuple[list[str], list[str]]:
    """Meta-training and meta-test classes, apart.

    Where no test classes are named, a third of the classes is drawn, and at least the ways.

    Raises:
        InputError: If a class is unknown, or too few are left on either side.

    Example:
        >>> split_classes(["a", "b", "c", "d"], ways=2, test_classes=["d", "b"], seed=0)
        (['a', 'c'], ['b', 'd'])
    """
    unknown = [name for name in test_classes or () if name not in classes]
    if unknown:
        raise InputError(f"Expected test classes among {list(classes)}, but got {unknown}.")
    if 2 * ways > len(classes) and test_classes is None:
        raise InputError(
            f"Expected at least {2 * ways} classes for {ways} ways, as many to meta-train on as to "
            f"be judged on, but there are {len(classes)}: {list(classes)}. Lower --ways."
        )
    count = max(ways, len(classes) // 3)
    drawn = test_classes or random.Random(seed).sample(list(classes), count)
    rest = [name for name in classes if name not in drawn]
    for side, left in (("meta-training", rest), ("meta-test", drawn)):
        if len(left) < ways:
            raise InputError(
                f"Expected at least as many {side} classes as ways, but got {ways} ways and "
                f"{len(left)} classes: {list(left)}. Lower --ways or name other test classes."
            )
    return rest, [name for name in classes if name in drawn]


def class_problem(
    name: str,
    inputs: Float[Tensor, "row *feature"],
    labels: Sequence[str],
    *,
    ways: int,
    trunk: Callable[[], nn.Module],
    head: Callable[[Task], nn.Module],
    test_classes: Sequence[str] | None = None,
    queries: int = 15,
    inner_rate: float = 0.1,
    settings: MetaTraining | None = None,
    seed: int = 0,
) -> FewShotProblem:
    """Meta-train on some classes, be judged on others.

    Half of the rows of the meta-test classes are for decisions between step sizes and methods, the
    other half judge; nothing is learned from either. (Rows of the meta-training classes would
    decide for whoever remembers those classes best.) Inputs are taken as they are.

    Args:
        name: Of the problem.
        inputs: One entry a row.
        labels: The class of each row.
        ways: Classes a task.
        trunk: Makes the trunk.
        head: Makes a head.
        test_classes: Classes to be judged on; by default a third of them, drawn by `seed`.
        queries: Query rows a class.
        inner_rate: Step size of the inner loop.
        settings: How the outer loop is run.
        seed: Decides which classes are for the meta-test, and which of their rows for decisions.

    Raises:
        InputError: If there are too few classes or rows.
    """
    training, test = split_classes(classes_in(labels), ways, test_classes, seed)
    known = np.asarray(labels, dtype=object)

    def family(classes: list[str], rows: Tensor) -> ClassFamily:
        number = {name: at for at, name in enumerate(classes)}
        numbers = torch.tensor([number[each] for each in known[rows.numpy()]])
        return ClassFamily(inputs[rows], numbers, tuple(classes), ways)

    def rows_of(classes: list[str]) -> Tensor:
        return torch.from_numpy(np.flatnonzero(np.isin(known, np.asarray(classes, dtype=object))))

    halves: tuple[list[Tensor], list[Tensor]] = [], []
    for each in test:
        rows = rows_of([each])
        order = rows[torch.randperm(len(rows), generator=generator_of(seed, f"rows of {each}"))]
        for half, part in zip(halves, order.tensor_split(2), strict=True):
            half.append(part)
    return FewShotProblem(
        name=name,
        training=family(training, rows_of(training)),
        validation=family(test, torch.cat(halves[0])),
        test=family(test, torch.cat(halves[1])),
        trunk=trunk,
        head=head,
        shots=1,
        queries=queries,
        inner_rate=inner_rate,
        settings=settings or MetaTraining(),
    )


def classes_in(labels: Sequence[str]) -> list[str]:
    """The classes, in order; numbers by their size.

    Example:
        >>> classes_in(["10", "b", "2", "10", "a"])
        ['2', '10', 'a', 'b']
    """
    return sorted({*labels}, key=_natural)


def _natural(name: str) -> tuple[float, str]:
    try:
        return float(name), name
    except ValueError:
        return float("inf"), name
