"""Few-shot classification from labelled rows: meta-training and meta-test classes differ."""

import random
from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from affinity.errors import InputError, check_known
from affinity.tasks import Task

from .class_family import ClassFamily
from .meta_training import MetaTraining
from .problem import FewShotProblem
from .random_numbers import generator_of


def split_classes(
    classes: Sequence[str], ways: int, test_classes: Sequence[str] | None, seed: int
) -> tuple[list[str], list[str]]:
    """Disjoint meta-training and meta-test classes.

    By default, a third of the classes, but at least as many as ways, is drawn for the meta-test.
    """
    test_classes = [_match(name, classes) for name in test_classes or ()] or None
    check_known("test classes", test_classes or (), classes, "unknown-class")
    if 2 * ways > len(classes) and test_classes is None:
        raise InputError(
            f"Expected at least {2 * ways} classes for {ways} ways, half of them for the "
            f"meta-test, but there are {len(classes)}: {list(classes)}. Lower --ways.",
            "too-few-classes",
        )
    count = max(ways, len(classes) // 3)
    drawn = test_classes or random.Random(seed).sample(list(classes), count)
    rest = [name for name in classes if name not in drawn]
    for part, chosen in (("meta-training", rest), ("meta-test", drawn)):
        if len(chosen) < ways:
            raise InputError(
                f"Expected at least as many {part} classes as ways, but got {ways} ways and "
                f"{len(chosen)} classes: {list(chosen)}. Lower --ways or name other test classes.",
                "too-few-classes",
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
    """Make a problem that meta-trains on some classes, and tests on others.

    Half of the rows of the meta-test classes are for validation (the choice of step sizes and
    methods), the other half for the test; methods are trained on neither. (Validation on the
    meta-training classes would favour methods that memorize these classes.) Inputs are not scaled.

    Args:
        inputs: One entry per row.
        labels: The class of each row.
        ways: Classes per task.
        test_classes: Meta-test classes; by default a third of the classes, drawn with `seed`.
        queries: Query rows per class.
        inner_rate: Step size of the inner loop.

    Raises:
        InputError: If there are too few classes or rows.
    """
    training, test = split_classes(classes_in(labels), ways, test_classes, seed)
    all_labels = np.asarray(labels, dtype=object)

    def family(classes: list[str], rows: Tensor) -> ClassFamily:
        index = {label: number for number, label in enumerate(classes)}
        numbers = torch.tensor([index[label] for label in all_labels[rows.numpy()]])
        return ClassFamily(inputs[rows], numbers, tuple(classes), ways)

    def rows_with(classes: list[str]) -> Tensor:
        is_chosen = np.isin(all_labels, np.asarray(classes, dtype=object))
        return torch.from_numpy(np.flatnonzero(is_chosen))

    halves: tuple[list[Tensor], list[Tensor]] = [], []
    for label in test:
        rows = rows_with([label])
        order = rows[torch.randperm(len(rows), generator=generator_of(seed, f"rows of {label}"))]
        for half, part in zip(halves, order.tensor_split(2), strict=True):
            half.append(part)
    return FewShotProblem(
        name=name,
        training=family(training, rows_with(training)),
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
    """The classes in order; numbers in numerical order."""
    return sorted({*labels}, key=_natural)


def _match(name: str, classes: Sequence[str]) -> str:
    """The class that is written this way, or is the same number."""
    same = [each for each in classes if _natural(each)[0] == _natural(name)[0] < float("inf")]
    return name if name in classes or len(same) != 1 else same[0]


def _natural(name: str) -> tuple[float, str]:
    try:
        return float(name), name
    except ValueError:
        return float("inf"), name
