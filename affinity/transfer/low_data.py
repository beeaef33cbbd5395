"""The low-data curve: from how many rows of the target on its source is no longer worth it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from affinity.errors import InputError
from affinity.problems import Problem
from affinity.statistics import Gains, NegativeTransferTest, Verdict
from affinity.tasks import Replicate
from affinity.training import TrainingSettings

from .measure_transfer import measure_transfer
from .recipes import Recipe
from .sources import OWN_INPUTS, Sources, learn_own_inputs
from .transfer import ARROW, Transfer
from .tuning_plan import TuningPlan

SIZES = (25, 50, 100, 200, 400, 800, 1600)


@dataclass(frozen=True, eq=False)
class LowDataCurve:
    """The gain of a source on a target by how many rows the target has to learn from.

    Args:
        source: What comes first.
        target: What it is brought to.
        gains: By rows, rising; a task ``source → target`` each, against from scratch on as many.
        own_inputs: The same of the control, where it was measured.
        test: How verdicts are reached, over all sizes together.
    """

    source: str
    target: str
    gains: dict[int, Gains]
    own_inputs: dict[int, Gains]
    test: NegativeTransferTest

    @property
    def verdicts(self) -> dict[int, Verdict]:
        """A verdict a number of rows."""
        return _judged(self.gains, self.test)

    def frame(self) -> pd.DataFrame:
        """One row a size: gain and interval of the source, and of the target's own inputs."""
        control = _judged(self.own_inputs, self.test)
        return pd.DataFrame(
            [
                {
                    "source": self.source,
                    "target": self.target,
                    "rows": size,
                    "gain": verdict.gain,
                    "low": verdict.low,
                    "high": verdict.high,
                    "verdict": verdict.verdict,
                    "own_inputs": control[size].gain if size in control else math.nan,
                    "own_inputs_low": control[size].low if size in control else math.nan,
                    "own_inputs_high": control[size].high if size in control else math.nan,
                }
                for size, verdict in self.verdicts.items()
            ]
        )

    @property
    def summary(self) -> str:
        """Where the source helps, where that stops, and where it hurts, in words."""
        verdicts = self.verdicts
        helps, hurts = (
            [size for size, verdict in verdicts.items() if verdict.verdict == name]
            for name in ("beneficial", "harmful")
        )
        largest = max(verdicts)
        parts: list[str] = []
        if not helps:
            parts.append(
                f"{self.source!r} was not found to be worth it for {self.target!r} at any number "
                f"of rows from {min(verdicts):,} to {largest:,}"
            )
        elif len(helps) == len(verdicts):
            parts.append(
                f"{self.source!r} is worth it for {self.target!r} from {min(helps):,} to "
                f"{largest:,} rows, as far as was measured"
            )
        else:
            where = ", ".join(f"{size:,}" for size in helps)
            parts.append(f"{self.source!r} is worth it for {self.target!r} at {where} rows")
            after = [size for size in verdicts if size > max(helps)]
            if after:
                parts.append(f"from {after[0]:,} rows on it was not found to be")
        if hurts:
            parts.append(f"it hurts at {', '.join(f'{size:,}' for size in hurts)} rows")
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
    """Measure every source on every target at growing numbers of the target's rows.

    A target's first rows, in the order of the replicate's draw, are those of every larger size too;
    it has validation rows in proportion. Sources keep all their rows. The control sees the inputs
    of the target's few rows alone. Sizes that the target does not have are left out; the last
    point is all of its rows.

    Args:
        problem: Tasks, trunk and heads.
        sources: From `learn_sources`.
        recipe: How targets are tuned; full fine-tuning if None.
        targets: The tasks; all if None.
        sizes: Rows to learn from.
        settings: How to train; the problem's own if None.
        store: A folder in which finished tunings are kept.

    Raises:
        InputError: If no size is below 2, or sizes are none.
    """
    targets = list(problem.names if targets is None else targets)
    if not sizes or min(sizes) < 2:
        raise InputError(f"Expected sizes of at least 2 rows, but got {list(sizes)}.")
    test = NegativeTransferTest()
    curves: list[LowDataCurve] = []
    for target in targets:
        column = problem.names.index(target)
        most = min(int(r.training.labelled[:, column].sum()) for r in sources.replicates)
        known = [name for name in sources.names if target in sources.trunks[name]]
        measured: dict[int, Transfer] = {}
        for size in [*(size for size in sorted(set(sizes)) if size < most), most]:
            on = [few(replicate, column, size) for replicate in sources.replicates]
            trunks = {name: {target: sources.trunks[name][target]} for name in known}
            if OWN_INPUTS in known:
                trunks[OWN_INPUTS] = learn_own_inputs(problem, on, [target], settings)
            own = replace(sources, names=tuple(known), trunks=trunks)
            measured[size] = measure_transfer(
                problem, recipe, own, on, [target], settings=settings, store=store
            )
        by_source = {
            name: {
                size: each.gains().of([f"{name}{ARROW}{target}"]) for size, each in measured.items()
            }
            for name in known
        }
        curves += [
            LowDataCurve(name, target, by_source[name], by_source.get(OWN_INPUTS, {}), test)
            for name in known
            if name != OWN_INPUTS
        ]
    return curves


def few(replicate: Replicate, column: int, count: int) -> Replicate:
    """The replicate with so many training rows labelled for a target, and validation rows in step.

    Example:
        >>> from affinity.problems import planted
        >>> small = few(planted(n_rows=100).replicate(0), column=0, count=30)
        >>> len(small.training), len(small.validation)
        (30, 10)
    """
    training, validation = (
        part.labelled[:, column].nonzero().squeeze(1)
        for part in (replicate.training, replicate.validation)
    )
    share = count / len(training)
    # Validation rows stand in the order of the data, which may be sorted: take them evenly.
    n_validation = max(2, round(len(validation) * min(1.0, share)))
    n_validation = min(n_validation, len(validation))
    places = [at * len(validation) // n_validation for at in range(n_validation)]
    return replace(
        replicate,
        training=replicate.training.take(training[:count]),
        validation=replicate.validation.take(validation[places]),
    )


def _judged(gains: dict[int, Gains], test: NegativeTransferTest) -> dict[int, Verdict]:
    """All sizes of a pair together."""
    if not gains:
        return {}
    sizes = list(gains)
    first = gains[sizes[0]]
    named = [replace(each, tasks=(f"{size} rows",)) for size, each in gains.items()]
    together = first if len(named) == 1 else _beside(named)
    return dict(zip(sizes, test(together), strict=True))


def _beside(gains: Sequence[Gains]) -> Gains:
    """Gains of one task each as those of several."""

    def cat(name: str) -> Tensor | None:
        parts = [getattr(each, name) for each in gains]
        return None if any(part is None for part in parts) else torch.cat(parts, dim=1)

    scores, baseline = cat("scores"), cat("baseline")
    assert scores is not None
    assert baseline is not None
    return Gains(
        tasks=tuple(task for each in gains for task in each.tasks),
        scores=scores,
        baseline=baseline,
        score_blocks=cat("score_blocks"),
        baseline_blocks=cat("baseline_blocks"),
    )
