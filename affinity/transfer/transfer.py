"""Measured transfer: the gain of each source on each target over training from scratch."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from affinity.errors import check_choice
from affinity.statistics import Gains, NegativeTransferTest, Verdict, VerdictName

from .sources import OWN_INPUTS

ARROW = " \N{RIGHTWARDS ARROW} "


@dataclass(frozen=True, eq=False)
class TransferLosses:
    """Losses of fine-tuned networks; NaN for pairs that were not measured or diverged.

    Args:
        test: On the test rows.
        evaluation: On development rows that neither training nor early stopping used, for
            decisions.
        blocks: On blocks of the test rows; NaN beyond a task's own.
    """

    test: Float[Tensor, "source replicate target"]
    evaluation: Float[Tensor, "source replicate target"]
    blocks: Float[Tensor, "source replicate target block"]


@dataclass(frozen=True)
class PairGain:
    """The gain of one source on one target, and its gain over self-supervised pretraining.

    `gain` is the relative reduction in test loss compared with training from scratch, `beyond` that
    compared with the control (NaN if it was not measured), with 95 % intervals.
    """

    source: str
    target: str
    gain: float
    low: float
    high: float
    verdict: VerdictName
    beyond: float
    beyond_low: float
    beyond_high: float
    beyond_verdict: VerdictName | None


@dataclass(frozen=True, eq=False)
class Transfer:
    r"""The directed matrix of transfer gains, with the same verdicts as an audit.

    .. math::
        G_{st} = \frac{\overline{L}_t - \overline{L}_{s \to t}}{\overline{L}_t}

    on test rows, averaged over replicates: :math:`L_t` is the loss of the target trained from
    scratch, :math:`L_{s \to t}` the loss of the same network initialized with the trunk of the
    source. 0.1 is a tenth less loss; below 0 is negative transfer.

    Args:
        sources: The rows.
        targets: The columns.
        recipe: How targets were fine-tuned.
        tuned: Losses from each source.
        scratch: Losses from scratch, as a single row.
        is_measured: Which pairs were measured; a source is not transferred to its own tasks.
        test: The test behind the verdicts, over all measured pairs together.
        seconds: Time of fine-tuning from the sources.
    """

    problem: str
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    recipe: str
    tuned: TransferLosses
    scratch: TransferLosses
    is_measured: Bool[Tensor, "source target"]
    test: NegativeTransferTest = field(default_factory=lambda: NegativeTransferTest(adjust="fdr"))
    context: Mapping[str, object] = field(default_factory=dict[str, object])
    seconds: float = math.nan

    @property
    def n_replicates(self) -> int:
        """The number of replicates."""
        return self.scratch.test.shape[1]

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """The measured pairs, source by source."""
        return self._names(self.is_measured)

    def gains(self, part: str = "test", against: str | None = None) -> Gains:
        """The gains of all pairs (``source → target``), paired by replicate.

        Args:
            part: ``test`` or ``evaluation``.
            against: The source to compare with; training from scratch if None. Pairs with targets
                that it was not transferred to are omitted.
        """
        rows, columns = self._comparable(against).nonzero(as_tuple=True)
        tuned, scratch = getattr(self.tuned, part), getattr(self.scratch, part)
        baseline, baseline_blocks = scratch[0], self.scratch.blocks[0]
        if against is not None:
            other = self._row(against)
            baseline, baseline_blocks = tuned[other], self.tuned.blocks[other]
        has_blocks = part == "test"
        return Gains(
            tasks=tuple(ARROW.join(pair) for pair in self._names(self._comparable(against))),
            scores=tuned[rows, :, columns].T,
            baseline=baseline[:, columns],
            score_blocks=self.tuned.blocks[rows, :, columns].transpose(0, 1)
            if has_blocks
            else None,
            baseline_blocks=baseline_blocks[:, columns] if has_blocks else None,
        )

    @cached_property
    def verdicts(self) -> dict[tuple[str, str], Verdict]:
        """The verdict on each pair: from the source compared with from scratch."""
        return dict(zip(self.pairs, self.test(self.gains()), strict=True))

    @cached_property
    def beyond_own_inputs(self) -> dict[tuple[str, str], Verdict]:
        """The verdict on each pair: from the source compared with the control.

        Gains also achieved by self-supervised pretraining on the target's inputs are not attributed
        to the source. Empty if the control was not measured.
        """
        if OWN_INPUTS not in self.sources:
            return {}
        pairs = self._names(self._comparable(OWN_INPUTS))
        if not pairs:
            return {}
        return dict(zip(pairs, self.test(self.gains(against=OWN_INPUTS)), strict=True))

    def values(self, part: str = "test") -> Float[Tensor, "source target"]:
        """The gains; NaN for pairs that were not measured."""
        gains = torch.full(self.is_measured.shape, math.nan, dtype=torch.double)
        gains[self.is_measured] = torch.from_numpy(self.gains(part).estimate().mean)
        return gains

    def pair_gains(self) -> tuple[PairGain, ...]:
        """Gain, interval and verdict of each pair."""
        rows: list[PairGain] = []
        for pair, verdict in self.verdicts.items():
            beyond = self.beyond_own_inputs.get(pair)
            rows.append(
                PairGain(
                    *pair,
                    *(verdict.gain, verdict.low, verdict.high, verdict.verdict),
                    *(
                        (math.nan, math.nan, math.nan, None)
                        if beyond is None
                        else (beyond.gain, beyond.low, beyond.high, beyond.verdict)
                    ),
                )
            )
        return tuple(rows)

    def frame(self) -> pd.DataFrame:
        """One row per pair: the fields of `PairGain`."""
        return pd.DataFrame(self.pair_gains())

    def best_sources(self) -> dict[str, str | None]:
        """The source with the largest gain on selection rows for each target; None: from scratch.

        May be the control.
        """
        values = self.values("evaluation")
        best: dict[str, str | None] = {}
        for column, target in enumerate(self.targets):
            gains = values[:, column].nan_to_num(nan=-math.inf)
            row = int(gains.argmax())
            best[target] = self.sources[row] if float(gains[row]) > 0 else None
        return best

    def leading_sources(self) -> dict[str, str]:
        """The source with the largest gain on selection rows for each target, even if below 0.

        Without the control, and without targets that have no other source.
        """
        values = self.values("evaluation")
        if OWN_INPUTS in self.sources:
            values[self._row(OWN_INPUTS)] = math.nan
        return {
            target: self.sources[int(values[:, column].nan_to_num(nan=-math.inf).argmax())]
            for column, target in enumerate(self.targets)
            if bool(values[:, column].isfinite().any())
        }

    def _names(self, pairs: Bool[Tensor, "source target"]) -> list[tuple[str, str]]:
        return [(self.sources[row], self.targets[column]) for row, column in pairs.nonzero()]

    def _row(self, source: str) -> int:
        check_choice("the source", source, self.sources, "unknown-source")
        return self.sources.index(source)

    def _comparable(self, against: str | None) -> Bool[Tensor, "source target"]:
        """The measured pairs that can be compared with another source."""
        pairs = self.is_measured.clone()
        if against is not None:
            other = self._row(against)
            pairs &= self.is_measured[other]
            pairs[other] = False
        return pairs
