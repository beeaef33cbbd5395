"""Low-data curve: the gain of a source by the number of rows that the target has."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from affinity.errors import check_number
from affinity.problems import Problem
from affinity.statistics import Gains, NegativeTransferTest, Verdict, VerdictName
from affinity.tasks import Replicate
from affinity.training import TrainingSettings

from .measure_transfer import measure_transfer
from .recipes import Recipe
from .sources import OWN_INPUTS, Sources, learn_own_inputs
from .transfer import ARROW, Transfer
from .tuning_plan import TuningPlan

SIZES = (25, 50, 100, 200, 400, 800, 1600)


@dataclass(frozen=True)
class CurvePoint:
    """Gains at one number of rows: of the source with its verdict, and of the control."""

    source: str
    target: str
    rows: int
    gain: float
    low: float
    high: float
    verdict: VerdictName
    own_inputs: float
    own_inputs_low: float
    own_inputs_high: float


@dataclass(frozen=True, eq=False)
class LowDataCurve:
    """The gain of a source on a target by the number of the target's training rows.

    Args:
        gains: Gain over training from scratch by number of rows, in increasing order.
        own_inputs: The same for the control, if it was measured.
        test: The test behind the verdicts, over all sizes together.
    """

    source: str
    target: str
    gains: dict[int, Gains]
    own_inputs: dict[int, Gains]
    test: NegativeTransferTest

    @property
    def verdicts(self) -> dict[int, Verdict]:
        """The verdict at each number of rows."""
        return _verdicts(self.gains, self.test)

    def points(self) -> tuple[CurvePoint, ...]:
        """Gain and interval of the source and of the control, at each number of rows."""
        control = _verdicts(self.own_inputs, self.test)
        points: list[CurvePoint] = []
        for size, v in self.verdicts.items():
            own = control.get(size)
            of_control = (own.gain, own.low, own.high) if own else (math.nan,) * 3
            points.append(
                CurvePoint(
                    *(self.source, self.target, size, v.gain, v.low, v.high, v.verdict), *of_control
                )
            )
        return tuple(points)

    def frame(self) -> pd.DataFrame:
        """One row per size: the fields of `CurvePoint`."""
        return pd.DataFrame(self.points())

    @property
    def summary(self) -> str:
        """At which numbers of rows the source helps, and where it hurts, in words."""
        verdicts = self.verdicts
        helps, hurts = (
            [size for size, verdict in verdicts.items() if verdict.verdict == name]
            for name in ("beneficial", "harmful")
        )
        smallest, largest = min(verdicts), max(verdicts)
        if not helps:
            parts = [
                f"{self.source!r} was not found to help {self.target!r} at any size from "
                f"{smallest:,} to {largest:,} rows"
            ]
        elif len(helps) == len(verdicts):
            parts = [
                f"{self.source!r} helps {self.target!r} at all measured sizes, from {smallest:,} "
                f"to {largest:,} rows"
            ]
        else:
            parts = [f"{self.source!r} helps {self.target!r} at {_listed(helps)} rows"]
            if larger := [size for size in verdicts if size > max(helps)]:
                parts.append(f"from {larger[0]:,} rows on it was not found to help")
        if hurts:
            parts.append(f"it hurts at {_listed(hurts)} rows")
        return "; ".join(parts) + "."


def low_data_curves(
    problem: Problem,
    sources: Sources,
    recipe: Recipe | TuningPlan | None = None,
    targets: Sequence[str] | None = None,
    sizes: Sequence[int] = SIZES,
    settings: TrainingSettings | None = None,
    store: str | Path | None = None,
) -> list[LowDataCurve]:
    """Measure every source on every target with increasing numbers of the target's rows.

    The rows of a smaller size are among those of every larger size; the number of validation rows
    is proportional. Sources keep all their rows. The control only sees the inputs of the target's
    rows of each size. Sizes that exceed the target's rows are omitted; the last point is all rows.

    Args:
        sources: From `learn_sources`.
        recipe: How targets are fine-tuned; full fine-tuning if None.
        sizes: Numbers of training rows.

    Raises:
        InputError: If there are no sizes, or one is below 2.
    """
    targets = list(problem.names if targets is None else targets)
    check_number("the smallest number of rows", min(sizes, default=0), "too-few-rows", least=2)
    test = NegativeTransferTest()
    curves: list[LowDataCurve] = []
    for target in targets:
        column = problem.names.index(target)
        n_rows = min(int(r.training.labelled[:, column].sum()) for r in sources.replicates)
        names = [name for name in sources.names if target in sources.trunks[name]]
        measured: dict[int, Transfer] = {}
        for size in [*(size for size in sorted(set(sizes)) if size < n_rows), n_rows]:
            splits = [take_rows(replicate, column, size) for replicate in sources.replicates]
            trunks = {name: {target: sources.trunks[name][target]} for name in names}
            if OWN_INPUTS in names:
                trunks[OWN_INPUTS] = learn_own_inputs(problem, splits, [target], settings)
            of_target = replace(sources, names=tuple(names), trunks=trunks)
            measured[size] = measure_transfer(
                problem, recipe, of_target, splits, [target], settings=settings, store=store
            )
        gains = {
            name: {
                size: transfer.gains().of([f"{name}{ARROW}{target}"])
                for size, transfer in measured.items()
            }
            for name in names
        }
        curves += [
            LowDataCurve(name, target, gains[name], gains.get(OWN_INPUTS, {}), test)
            for name in names
            if name != OWN_INPUTS
        ]
    return curves


def take_rows(replicate: Replicate, column: int, count: int) -> Replicate:
    """The first `count` training rows labelled for a target, and as large a share of validation.

    Example:
        >>> from affinity.problems import planted
        >>> small = take_rows(planted(n_rows=100).replicate(0), column=0, count=30)
        >>> len(small.training), len(small.validation)
        (30, 10)
    """
    training, validation = (
        part.labelled[:, column].nonzero().squeeze(1)
        for part in (replicate.training, replicate.validation)
    )
    share = count / len(training)
    # Validation rows are in the order of the data, which may be sorted: take them evenly.
    n_validation = max(2, round(len(validation) * min(1.0, share)))
    n_validation = min(n_validation, len(validation))
    places = [number * len(validation) // n_validation for number in range(n_validation)]
    return replace(
        replicate,
        training=replicate.training.take(training[:count]),
        validation=replicate.validation.take(validation[places]),
    )


def _verdicts(gains: dict[int, Gains], test: NegativeTransferTest) -> dict[int, Verdict]:
    """The verdicts at all sizes, judged together."""
    if not gains:
        return {}

    def join(part: str) -> Tensor | None:
        parts = [getattr(of_size, part) for of_size in gains.values()]
        return None if any(part is None for part in parts) else torch.cat(parts, dim=1)

    scores, baseline = join("scores"), join("baseline")
    assert scores is not None
    assert baseline is not None
    joined = Gains(
        tasks=tuple(f"{size} rows" for size in gains),
        scores=scores,
        baseline=baseline,
        score_blocks=join("score_blocks"),
        baseline_blocks=join("baseline_blocks"),
    )
    return dict(zip(gains, test(joined), strict=True))


def _listed(sizes: Sequence[int]) -> str:
    return ", ".join(f"{size:,}" for size in sizes)
