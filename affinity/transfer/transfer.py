"""Measured transfer: what each source gave each target, beside the target from scratch."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from affinity.errors import InputError
from affinity.statistics import Gains, NegativeTransferTest, Verdict

from .sources import OWN_INPUTS

ARROW = " \N{RIGHTWARDS ARROW} "


@dataclass(frozen=True, eq=False)
class Scores:
    """Losses of tuned networks; NaN where a pair was not measured or diverged.

    Args:
        test: On the test rows.
        evaluation: On development rows that neither training nor stopping saw, for decisions.
        blocks: On blocks of the test rows; NaN beyond a task's own.
    """

    test: Float[Tensor, "source replicate target"]
    evaluation: Float[Tensor, "source replicate target"]
    blocks: Float[Tensor, "source replicate target block"]


@dataclass(frozen=True, eq=False)
class Transfer:
    r"""The directed matrix of transfer gains, with verdicts as in an audit.

    .. math::
        G_{st} = \frac{\overline{L}_t - \overline{L}_{s \to t}}{\overline{L}_t}

    on test rows, over replicates: :math:`L_t` is the loss of the target from scratch,
    :math:`L_{s \to t}` that of the same network from the trunk of the source. 0.1 says that a tenth
    of the loss is gone; below 0 the source harms.

    Args:
        problem: The problem's name.
        sources: Rows.
        targets: Columns.
        recipe: How targets were tuned.
        tuned: From each source.
        scratch: Of one row: from no source.
        is_measured: Which pairs were; a source does not go to what it was trained on.
        test: How verdicts are reached, over all measured pairs together.
        context: Settings, seeds, versions and notes.
        seconds: Time that tuning from the sources took.
    """

    problem: str
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    recipe: str
    tuned: Scores
    scratch: Scores
    is_measured: Bool[Tensor, "source target"]
    test: NegativeTransferTest = field(default_factory=lambda: NegativeTransferTest(adjust="fdr"))
    context: Mapping[str, Any] = field(default_factory=dict[str, Any])
    seconds: float = math.nan

    @property
    def n_replicates(self) -> int:
        """How many replicates were measured."""
        return self.scratch.test.shape[1]

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """The measured pairs, source by source."""
        return [
            (self.sources[row], self.targets[column]) for row, column in self.is_measured.nonzero()
        ]

    def gains(self, part: str = "test", against: str | None = None) -> Gains:
        """A task a pair (``source → target``), paired replicate by replicate.

        Args:
            part: ``test`` or ``evaluation``.
            against: Another source to compare with; from scratch if None. Pairs whose target it was
                not brought to are left out.
        """
        rows, columns = self._places(against)
        with_blocks = part == "test"
        tuned, scratch = getattr(self.tuned, part), getattr(self.scratch, part)
        baseline = scratch[0][:, columns]
        base_blocks = self.scratch.blocks[0][:, columns]
        if against is not None:
            other = self._row(against)
            baseline, base_blocks = tuned[other][:, columns], self.tuned.blocks[other][:, columns]
        return Gains(
            tasks=tuple(
                f"{self.sources[row]}{ARROW}{self.targets[column]}"
                for row, column in zip(rows, columns, strict=True)
            ),
            scores=torch.stack(
                [tuned[row, :, column] for row, column in zip(rows, columns, strict=True)], dim=1
            ),
            baseline=baseline,
            score_blocks=torch.stack(
                [
                    self.tuned.blocks[row, :, column]
                    for row, column in zip(rows, columns, strict=True)
                ],
                dim=1,
            )
            if with_blocks
            else None,
            baseline_blocks=base_blocks if with_blocks else None,
        )

    @cached_property
    def verdicts(self) -> dict[tuple[str, str], Verdict]:
        """A verdict a pair: from the source against from scratch."""
        return dict(zip(self.pairs, self.test(self.gains()), strict=True))

    @cached_property
    def beyond_own_inputs(self) -> dict[tuple[str, str], Verdict]:
        """A verdict a pair: from the source against from the target's own inputs.

        A gain that pretraining on the target's own inputs gives as well is no credit of the source.
        Empty where the control was not measured.
        """
        if OWN_INPUTS not in self.sources:
            return {}
        rows, columns = self._places(OWN_INPUTS)
        if not rows:
            return {}
        pairs = [
            (self.sources[row], self.targets[column])
            for row, column in zip(rows, columns, strict=True)
        ]
        return dict(zip(pairs, self.test(self.gains(against=OWN_INPUTS)), strict=True))

    def values(self, part: str = "test") -> Float[Tensor, "source target"]:
        """The gains; NaN where nothing was measured."""
        gains = torch.full(self.is_measured.shape, math.nan, dtype=torch.double)
        gains[self.is_measured] = torch.from_numpy(self.gains(part).estimate().mean)
        return gains

    def frame(self) -> pd.DataFrame:
        """One row a pair: gain, interval, verdict, and the same beyond the target's own inputs."""
        rows: list[dict[str, Any]] = []
        for pair, verdict in self.verdicts.items():
            beyond = self.beyond_own_inputs.get(pair)
            rows.append(
                {
                    "source": pair[0],
                    "target": pair[1],
                    "gain": verdict.gain,
                    "low": verdict.low,
                    "high": verdict.high,
                    "verdict": verdict.verdict,
                    "beyond": math.nan if beyond is None else beyond.gain,
                    "beyond_low": math.nan if beyond is None else beyond.low,
                    "beyond_high": math.nan if beyond is None else beyond.high,
                    "beyond_verdict": None if beyond is None else beyond.verdict,
                }
            )
        return pd.DataFrame(rows)

    def best_sources(self) -> dict[str, str | None]:
        """The source of the largest gain on evaluation rows for each target; None: from scratch.

        The control may be the best of all.
        """
        values = self.values("evaluation")
        found: dict[str, str | None] = {}
        for column, target in enumerate(self.targets):
            own = values[:, column].nan_to_num(nan=-math.inf)
            row = int(own.argmax())
            found[target] = self.sources[row] if float(own[row]) > 0 else None
        return found

    def leading_sources(self) -> dict[str, str]:
        """The source of the largest gain on evaluation rows for each target, gain or loss.

        The control is left out; a target without any other source is.
        """
        values = self.values("evaluation")
        if OWN_INPUTS in self.sources:
            values[self._row(OWN_INPUTS)] = math.nan
        return {
            target: self.sources[int(values[:, column].nan_to_num(nan=-math.inf).argmax())]
            for column, target in enumerate(self.targets)
            if bool(values[:, column].isfinite().any())
        }

    def with_test(self, test: NegativeTransferTest) -> "Transfer":
        """The same measurements, judged another way."""
        return replace(self, test=test)

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON; NaN becomes None."""
        best = self.best_sources()
        return {
            "problem": self.problem,
            "recipe": self.recipe,
            "n_replicates": self.n_replicates,
            "sources": list(self.sources),
            "targets": list(self.targets),
            "pairs": [
                {key: _plain(value) for key, value in row.items()}
                for row in self.frame().to_dict("records")
            ],
            "best_source": best,
            "context": dict(self.context),
        }

    def _row(self, source: str) -> int:
        if source not in self.sources:
            raise InputError(f"Expected one of the sources {self.sources}, but got {source!r}.")
        return self.sources.index(source)

    def _places(self, against: str | None) -> tuple[list[int], list[int]]:
        is_chosen = self.is_measured.clone()
        if against is not None:
            other = self._row(against)
            is_chosen &= self.is_measured[other]
            is_chosen[other] = False
        rows, columns = is_chosen.nonzero(as_tuple=True)
        return rows.tolist(), columns.tolist()


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
