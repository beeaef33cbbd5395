"""Audits of small networks whose truth is known: no difference at all, or a planted one."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from affinity import Gains
from affinity.problems import RandomRows
from affinity.sharing import HardSharing, Perceptron
from affinity.tasks import (
    BinaryCrossEntropy,
    Examples,
    Replicate,
    RocAuc,
    RSquared,
    SquaredError,
    Task,
)
from affinity.training import Member, TrainedNetwork, TrainingSettings, train_members

N_DEVELOPMENT, N_TEST, N_FEATURES, WIDTH = 300, 120, 6, 8
TASKS = (
    Task("level", SquaredError(), RSquared()),
    Task("product", SquaredError(), RSquared()),
    Task("is high", BinaryCrossEntropy(), RocAuc()),
    Task("is wide", BinaryCrossEntropy(), RocAuc()),
)
NAMES = tuple(task.name for task in TASKS)
SETTINGS = TrainingSettings(epochs=15, batch_size=64, learning_rate=0.02, patience=4)
STRAIGHT = (frozenset({"level", "is high"}), frozenset({"product", "is wide"}))
CROSSED = (frozenset({"level", "is wide"}), frozenset({"product", "is high"}))

NULLS = {
    "duplicate": "the same two networks, on the same rows, from another seed",
    "plan = baseline": "the same two networks, on other replicates",
    "labels permuted": "two groupings of tasks whose labels are permuted",
    "mirrored": "trained on fewer rows of the left half, or of the right, of a symmetric problem",
    "mirrored, other rows": "the same, with other development rows in every replicate",
    "mirrored, outer draws": "the same, over draws of the test rows from the rows there are",
}
"""What each null compares with what; the truth is that both are as good."""


DRAWS, A_DRAW = 5, 3
"""Outer draws, and replicates in each."""
COMPARED = {
    "duplicate": ("again", "base"),
    "plan = baseline": ("other", "base"),
    "labels permuted": ("crossed", "straight"),
    "mirrored": ("left", "right"),
    "mirrored, other rows": ("left of others", "right of others"),
    "mirrored, outer draws": ("left of draws", "right of draws"),
}


def audits(numbers: Sequence[int], n_replicates: int) -> list[dict[str, Gains]]:
    """For each audit, on data of its own, the gains of each null.

    Those over outer draws have the replicates of each draw, one draw after the other.
    """
    replicates: list[Replicate] = []
    members: list[Member] = []
    places: list[dict[str, list[int]]] = []
    for number in numbers:
        place: dict[str, list[int]] = {}
        for name, (networks, some) in sides(number, n_replicates).items():
            place[name] = []
            for replicate in some:
                for network in networks:
                    place[name].append(len(members))
                    members.append(Member(network, len(replicates)))
                replicates.append(replicate)
        places.append(place)
    trained = train_members(build, TASKS, members, replicates, SETTINGS)

    def gains(scores: Sequence[int], baseline: Sequence[int]) -> Gains:
        (mine, my_blocks), (theirs, their_blocks) = (
            table([trained[at] for at in side]) for side in (scores, baseline)
        )
        return Gains(NAMES, mine, theirs, None, my_blocks, their_blocks)

    return [
        {null: gains(place[mine], place[theirs]) for null, (mine, theirs) in COMPARED.items()}
        for place in places
    ]


def planted(gains: Gains, effect: float) -> Gains:
    """Every loss lower by a share: a true gain of this size under real noise."""
    assert gains.score_blocks is not None
    return replace(
        gains,
        scores=gains.scores * (1 - effect),
        score_blocks=gains.score_blocks * (1 - effect),
    )


def sides(
    number: int, n_replicates: int
) -> dict[str, tuple[tuple[frozenset[str], ...], list[Replicate]]]:
    """By name what is trained on which replicates."""
    generator = torch.Generator().manual_seed(number)
    rows = examples(N_DEVELOPMENT + N_TEST, generator)
    development, test = split(rows)
    base = drawn(development, test, number, range(n_replicates))
    shuffled = Examples(rows.inputs, permuted(rows.targets, generator))
    noise = drawn(*split(shuffled), number, range(n_replicates))
    mirrored = fewer(development, test, number, range(n_replicates), generator)
    others = [
        fewer(examples(N_DEVELOPMENT, generator), test, number, [at], generator)
        for at in range(n_replicates)
    ]
    draws: list[dict[str, list[Replicate]]] = []
    for draw in range(DRAWS):
        again = rows.take(torch.randperm(len(rows), generator=generator))
        numbers = range(A_DRAW * draw, A_DRAW * (draw + 1))
        draws.append(fewer(*split(again), number, numbers, generator))
    sides_of = {
        f"{side}{of}": (STRAIGHT, [each for part in parts for each in part[side]])
        for of, parts in (("", [mirrored]), (" of others", others), (" of draws", draws))
        for side in ("left", "right")
    }
    return {
        "base": (STRAIGHT, base),
        "again": (STRAIGHT, [replace(each, seed=each.seed + 500) for each in base]),
        "other": (STRAIGHT, drawn(development, test, number, range(100, 100 + n_replicates))),
        "straight": (STRAIGHT, noise),
        "crossed": (CROSSED, noise),
        **sides_of,
    }


def fewer(
    development: Examples,
    test: Examples,
    number: int,
    replicates: Sequence[int],
    generator: torch.Generator,
) -> dict[str, list[Replicate]]:
    """Without half of the development rows on the left, or on the right."""
    half = torch.rand(len(development), generator=generator) < 0.5
    is_left = development.inputs[:, 0] < 0
    return {
        name: drawn(development, test, number, replicates, keep=~(half & side))
        for name, side in (("left", is_left), ("right", ~is_left))
    }


def drawn(
    development: Examples,
    test: Examples,
    number: int,
    replicates: Sequence[int],
    keep: Tensor | None = None,
) -> list[Replicate]:
    found: list[Replicate] = []
    for each in replicates:
        seed = 1_000 * number + each
        draw = RandomRows(0.25, evaluation_share=0.0)(development, seed)
        training, validation = draw.training, draw.validation
        if keep is not None:
            training, validation = training[keep[training]], validation[keep[validation]]
        found.append(
            Replicate(seed, development.take(training), development.take(validation), test)
        )
    return found


def examples(n_rows: int, generator: torch.Generator) -> Examples:
    """Nothing depends on the sign of the first feature."""
    inputs = torch.randn(n_rows, N_FEATURES, generator=generator)
    wide, second, third, fourth = inputs[:, 0].abs(), *inputs[:, 1:4].T
    noise = torch.randn(n_rows, 4, generator=generator)
    targets = torch.stack(
        [
            torch.sin(2 * wide) + second + 0.5 * noise[:, 0],
            second * third + wide + 0.5 * noise[:, 1],
            (second + 0.5 * fourth + noise[:, 2] > 0).float(),
            (wide - 0.67 + 0.5 * third + 0.5 * noise[:, 3] > 0).float(),
        ],
        dim=1,
    )
    return Examples(inputs, targets)


def permuted(targets: Tensor, generator: torch.Generator) -> Tensor:
    orders = torch.stack([torch.randperm(len(targets), generator=generator) for _ in NAMES], dim=1)
    return targets.gather(0, orders)


def split(rows: Examples) -> tuple[Examples, Examples]:
    return rows.take(torch.arange(N_DEVELOPMENT)), rows.take(torch.arange(N_DEVELOPMENT, len(rows)))


def build(tasks: tuple[Task, ...]) -> HardSharing:
    return HardSharing(
        tasks, lambda: Perceptron(N_FEATURES, width=WIDTH, depth=1), lambda _: nn.Linear(WIDTH, 1)
    )


def table(trained: Sequence[TrainedNetwork]) -> tuple[Tensor, Tensor]:
    """Losses ``[replicate task]``, and on blocks of test rows."""
    n_replicates = len(trained) // len(STRAIGHT)
    losses = torch.empty(n_replicates, len(NAMES), dtype=torch.double)
    blocks = torch.empty(n_replicates, len(NAMES), N_TEST)
    for at, each in enumerate(trained):
        replicate = at // len(STRAIGHT)
        for name, loss in each.test_loss.items():
            losses[replicate, NAMES.index(name)] = loss
            blocks[replicate, NAMES.index(name)] = torch.tensor(each.test_blocks[name])
    return losses, blocks
