"""Laws of verdicts and intervals, over simulated gains of every shape."""

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from affinity.statistics import Gains, NegativeTransferTest, Verdict
from affinity.tasks import Score

LOOKS = {2: ((2, 1.0),), 3: ((2, 0.5), (3, 1.0)), 6: ((3, 0.25), (6, 0.5))}


def simulated(n: int, seed: int) -> Iterator[tuple[Gains, NegativeTransferTest]]:
    """Gains with noisy baselines, mixed units, scores below 0, test-row blocks or none."""
    random = np.random.default_rng(seed)
    for _ in range(n):
        n_replicates = int(random.choice([2, 2, 3, 6]))
        n_tasks = int(random.integers(1, 6))
        level = random.choice([-2.0, 0.05, 1.0, 40.0], n_tasks)
        noise = random.choice([0.0, 0.02, 0.3]) * np.abs(level)
        baseline = level + noise * random.normal(size=(n_replicates, n_tasks))
        shift = random.choice([0.0, 0.002, 0.05, 0.5], n_tasks) * random.choice([-1, 1], n_tasks)
        error = random.choice([0.0, 0.004, 0.1])
        relative = shift + error * random.normal(size=(n_replicates, n_tasks))
        scores = baseline + np.abs(level) * relative
        definitions = tuple(
            [Score("minimize"), Score("maximize"), Score("maximize", unit=0.001)][kind]
            for kind in random.integers(0, 3, n_tasks)
        )
        blocks: list[torch.Tensor | None] = [None, None]
        if random.random() < 0.5:
            spread = 0.2 * random.normal(size=(n_replicates, n_tasks, 12))
            spread -= spread.mean(axis=2, keepdims=True)
            blocks = [torch.as_tensor(part[:, :, None] + spread) for part in (scores, baseline)]
        names = tuple(f"t{task}" for task in range(n_tasks))
        tensors = torch.as_tensor(scores), torch.as_tensor(baseline)
        looks = LOOKS[n_replicates] if random.random() < 0.3 else ()
        adjust = "fdr" if random.random() < 0.3 else "holm"
        yield (
            Gains(names, *tensors, definitions, *blocks),
            NegativeTransferTest(looks=looks, adjust=adjust),
        )


def check(verdict: Verdict) -> None:
    """What a verdict says is what its gain and interval show."""
    assert verdict.low <= verdict.gain <= verdict.high
    if verdict.verdict == "beneficial":
        assert verdict.low > 0
    elif verdict.verdict == "harmful":
        assert verdict.high < 0
    elif verdict.verdict == "neutral":
        assert abs(verdict.gain) < verdict.tolerance
    if verdict.low > 0 or verdict.high < 0:
        assert verdict.verdict != ("harmful" if verdict.gain > 0 else "beneficial")


@pytest.mark.parametrize("seed", range(2))
def test_a_decided_verdict_has_an_interval_on_one_side_of_zero(seed: int) -> None:
    names: set[str] = set()
    for gains, test in simulated(25, seed):
        for verdict in (*test(gains), test.overall(gains)):
            assert not math.isnan(verdict.low)
            check(verdict)
            names.add(verdict.verdict)
    assert names == {"beneficial", "harmful", "neutral", "undecided"}


def test_one_replicate_decides_nothing() -> None:
    for gains, _ in simulated(20, seed=9):
        single = gains.first(1)
        test = NegativeTransferTest()
        for verdict in (*test(single), test.overall(single)):
            assert verdict.verdict == "undecided"
            assert math.isnan(verdict.low)
            assert math.isnan(verdict.high)
