"""Joint training or transfer: which helps the target more, for each pair, with reasons."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from affinity.errors import InputError, check_choice
from affinity.problems import Problem, TrainingResults, train_networks
from affinity.statistics import Gains, Verdict, VerdictName
from affinity.training import TrainingSettings
from affinity.words import gain_in_percent

from .sources import Sources
from .transfer import ARROW, Transfer

UseOfSource = Literal["joint", "sequential", "neither"]


@dataclass(frozen=True)
class Circumstances:
    """Conditions that cannot be measured.

    Args:
        source_at_hand: Whether the source's data are still available for joint training.
        only_target_matters: Whether the loss of the source no longer matters.
    """

    source_at_hand: bool = True
    only_target_matters: bool = True


@dataclass(frozen=True)
class PairAdvice:
    """How to use a source for a target: joint training, transfer, or neither; and why."""

    use: UseOfSource
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class JointOrSequentialGain:
    """Gains of a target by transfer and by joint training, with 95 % intervals and advice."""

    source: str
    target: str
    sequential: float
    sequential_low: float
    sequential_high: float
    sequential_verdict: VerdictName
    joint: float
    joint_low: float
    joint_high: float
    joint_verdict: VerdictName
    advice: UseOfSource
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class PairComparison:
    """Verdicts on transfer and joint training of one pair, on test rows.

    Args:
        sequential: The target from the source's trunk, compared with from scratch.
        joint: The target trained with the source, compared with alone.
        joint_on_source: The source trained with the target, compared with alone.
        difference: Sequential compared with joint.
        beyond_own_inputs: Sequential compared with the control; None if that was not measured.
    """

    source: str
    target: str
    sequential: Verdict
    joint: Verdict
    joint_on_source: Verdict
    difference: Verdict
    beyond_own_inputs: Verdict | None
    rows: int

    def advise(self, circumstances: Circumstances | None = None) -> PairAdvice:
        """Whether to train jointly, sequentially or without the source, and why.

        A way is advised if it is beneficial, possible, and does not harm a task that matters; of
        two such ways, the better one; if they cannot be distinguished, the simpler one: one network
        for both tasks if both matter, transfer if only the target does.
        """
        given = circumstances or Circumstances()
        reasons = [
            f"{name}: {_describe(verdict)} with {self.rows:,} training rows of the target"
            for name, verdict in (("sequential", self.sequential), ("joint", self.joint))
        ]
        joint_helps = self.joint.verdict == "beneficial"
        if joint_helps and not given.source_at_hand:
            joint_helps = False
            reasons.append("joint training needs the source's data, which are not available")
        harms_source = self.joint_on_source.verdict == "harmful"
        if joint_helps and not given.only_target_matters and harms_source:
            joint_helps = False
            reasons.append(f"joint training harms the source: {_describe(self.joint_on_source)}")
        sequential_helps = self.sequential.verdict == "beneficial"
        beyond = self.beyond_own_inputs
        if sequential_helps and beyond is not None and beyond.verdict != "beneficial":
            reasons.append(
                "self-supervised pretraining on the target's own inputs was not found to be worse "
                f"({_describe(beyond)} compared with it): try that first"
            )
        if not (joint_helps or sequential_helps):
            reasons.append("no possible use of the source was found to help")
            return PairAdvice("neither", tuple(reasons))
        if not (joint_helps and sequential_helps):
            return PairAdvice("joint" if joint_helps else "sequential", tuple(reasons))
        if self.difference.verdict in ("beneficial", "harmful"):
            is_better = self.difference.verdict == "beneficial"
            reasons.append(f"sequential compared with joint: {_describe(self.difference)}")
        else:
            is_better = given.only_target_matters
            reasons.append(
                "the two cannot be distinguished; "
                + (
                    "only the target matters, and transfer needs the source only once"
                    if is_better
                    else "both tasks matter, and one network serves both"
                )
            )
        return PairAdvice("sequential" if is_better else "joint", tuple(reasons))


@dataclass(frozen=True)
class JointOrSequential:
    """The comparison of transfer and joint training for every pair of tasks."""

    pairs: tuple[PairComparison, ...]

    def pair(self, source: str, target: str) -> PairComparison:
        """The comparison for one pair.

        Raises:
            InputError: If the pair was not measured.
        """
        by_names = {(pair.source, pair.target): pair for pair in self.pairs}
        check_choice("the measured pair", (source, target), by_names, "unknown-pair")
        return by_names[source, target]

    def gains(self) -> tuple[JointOrSequentialGain, ...]:
        """Gains of each pair; advice if the source is available and only the target matters."""
        rows: list[JointOrSequentialGain] = []
        for pair in self.pairs:
            advice, one, two = pair.advise(), pair.sequential, pair.joint
            rows.append(
                JointOrSequentialGain(
                    *(pair.source, pair.target),
                    *(one.gain, one.low, one.high, one.verdict),
                    *(two.gain, two.low, two.high, two.verdict),
                    *(advice.use, advice.reasons),
                )
            )
        return tuple(rows)

    def frame(self) -> pd.DataFrame:
        """One row per pair: the fields of `JointOrSequentialGain`."""
        return pd.DataFrame(self.gains())


def compare_joint(
    problem: Problem,
    sources: Sources,
    transfer: Transfer,
    settings: TrainingSettings | None = None,
    store: str | Path | None = None,
) -> JointOrSequential:
    """Train every source that is a task jointly with every target, and compare with transfer.

    On the same replicates: "from scratch" in `transfer` and "alone" here are the same training.

    Args:
        sources: The sources of `transfer`.
        transfer: Measured with all rows of the targets.

    Raises:
        InputError: If no source is a task.
    """
    pairs = [pair for pair in transfer.pairs if pair[0] in problem.names]
    if not pairs:
        raise InputError(
            f"Expected sources that are tasks, to train them jointly with targets, but got "
            f"{list(transfer.sources)}.",
            "no-task-as-source",
        )
    both = list(dict.fromkeys(frozenset(pair) for pair in pairs))
    alone = list(dict.fromkeys(frozenset({name}) for pair in pairs for name in pair))
    measured = train_networks(
        problem, [*alone, *both], sources.replicates, settings=settings, store=store
    )
    directions = list(dict.fromkeys([*pairs, *((target, source) for source, target in pairs)]))
    joint = dict(zip(directions, transfer.test(_joint_gains(measured, directions)), strict=True))
    difference = transfer.test(_sequential_gains_over_joint(measured, pairs, transfer))
    training = [replicate.training for replicate in sources.replicates]
    return JointOrSequential(
        tuple(
            PairComparison(
                source,
                target,
                sequential=transfer.verdicts[source, target],
                joint=joint[source, target],
                joint_on_source=joint[target, source],
                difference=verdict,
                beyond_own_inputs=transfer.beyond_own_inputs.get((source, target)),
                rows=min(
                    int(rows.labelled[:, problem.names.index(target)].sum()) for rows in training
                ),
            )
            for (source, target), verdict in zip(pairs, difference, strict=True)
        )
    )


def _joint_gains(measured: TrainingResults, pairs: list[tuple[str, str]]) -> Gains:
    """Gains of the second task of each pair when trained jointly, over alone."""
    together = [_losses(measured, frozenset(pair), pair[1]) for pair in pairs]
    alone = [_losses(measured, frozenset({target}), target) for _, target in pairs]
    return Gains(
        tasks=tuple(ARROW.join(pair) for pair in pairs),
        scores=torch.stack([loss for loss, _ in together], dim=1),
        baseline=torch.stack([loss for loss, _ in alone], dim=1),
        score_blocks=_stack_blocks([blocks for _, blocks in together]),
        baseline_blocks=_stack_blocks([blocks for _, blocks in alone]),
    )


def _sequential_gains_over_joint(
    measured: TrainingResults, pairs: list[tuple[str, str]], transfer: Transfer
) -> Gains:
    together = [_losses(measured, frozenset(pair), pair[1]) for pair in pairs]
    blocks = _stack_blocks([of_pair for _, of_pair in together])
    sequential = transfer.gains().of([ARROW.join(pair) for pair in pairs])
    tuned_blocks = sequential.score_blocks
    return Gains(
        tasks=sequential.tasks,
        scores=sequential.scores,
        baseline=torch.stack([loss for loss, _ in together], dim=1),
        score_blocks=None if tuned_blocks is None else tuned_blocks[:, :, : blocks.shape[2]],
        baseline_blocks=None if tuned_blocks is None else blocks,
    )


def _losses(
    measured: TrainingResults, network: frozenset[str], target: str
) -> tuple[Tensor, Tensor]:
    """Test losses of a target in a network, by replicate, and by replicate and block."""
    row = list(measured.networks).index(network)
    column = measured.tasks.index(target)
    return measured.test_loss[row, :, column], measured.test_blocks[row][target]


def _stack_blocks(blocks: list[Tensor]) -> Tensor:
    """Blocks ``[replicate block]`` of several tasks; NaN beyond a task's own."""
    padded = pad_sequence([of_task.T for of_task in blocks], padding_value=math.nan)
    return padded.permute(2, 1, 0)  # replicate task block


def _describe(verdict: Verdict) -> str:
    return f"{verdict.verdict}, {gain_in_percent(verdict.gain, verdict.low, verdict.high)}"
