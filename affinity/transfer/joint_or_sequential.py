"""Joint, sequential, or neither: transfer beside joint training, for each pair, with reasons."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd
import torch

from affinity.errors import InputError
from affinity.problems import Problem, TrainingResults, train_networks
from affinity.statistics import Gains, Verdict
from affinity.training import TrainingSettings

from .sources import Sources
from .transfer import ARROW, Transfer

Way = Literal["joint", "sequential", "neither"]


@dataclass(frozen=True)
class Circumstances:
    """What a measurement cannot know.

    Args:
        source_at_hand: Whether the source's data are there when the target comes.
        only_target_matters: Whether the source's own loss is of no interest any more.
    """

    source_at_hand: bool = True
    only_target_matters: bool = True


@dataclass(frozen=True)
class Advice:
    """What to do with a source for a target.

    Args:
        source: The one.
        target: The other.
        way: Joint training, transfer, or leaving the source aside.
        reasons: Why, in words.
    """

    source: str
    target: str
    way: Way
    reasons: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class JointOrSequential:
    """For each pair of tasks the gain of transfer and that of joint training, on test rows.

    Args:
        sequential: A verdict a pair: the target from the source's trunk against from scratch.
        joint: A verdict a pair: the target trained with the source against alone.
        difference: A verdict a pair: sequential against joint.
        beyond_own_inputs: A verdict a pair, where the control was measured.
        rows: How many rows each target has to learn from.
    """

    sequential: Mapping[tuple[str, str], Verdict]
    joint: Mapping[tuple[str, str], Verdict]
    difference: Mapping[tuple[str, str], Verdict]
    beyond_own_inputs: Mapping[tuple[str, str], Verdict]
    rows: Mapping[str, int]

    def frame(self) -> pd.DataFrame:
        """One row a pair."""
        return pd.DataFrame(
            [
                {
                    "source": source,
                    "target": target,
                    "sequential": sequential.gain,
                    "sequential_low": sequential.low,
                    "sequential_high": sequential.high,
                    "sequential_verdict": sequential.verdict,
                    "joint": self.joint[source, target].gain,
                    "joint_low": self.joint[source, target].low,
                    "joint_high": self.joint[source, target].high,
                    "joint_verdict": self.joint[source, target].verdict,
                    "advice": self.advise(source, target).way,
                }
                for (source, target), sequential in self.sequential.items()
            ]
        )

    def advise(self, source: str, target: str, given: Circumstances | None = None) -> Advice:
        """What to do, and why.

        A way is taken where it was found beneficial, is possible, and harms nobody who matters; of
        two such ways the better one, where they can be told apart; else the one that asks for
        less: one network for both where both matter, transfer where the target alone does.

        Raises:
            InputError: If the pair was not measured.
        """
        given = given or Circumstances()
        pair = source, target
        if pair not in self.sequential:
            raise InputError(
                f"Expected a pair that was measured, one of {list(self.sequential)}, but got "
                f"{pair}."
            )
        ways: dict[Way, Verdict] = {
            "sequential": self.sequential[pair],
            "joint": self.joint[pair],
        }
        reasons = [
            f"{name}: {_said(verdict)} on {self.rows[target]:,} rows of the target"
            for name, verdict in ways.items()
        ]
        possible: list[Way] = [
            name for name, verdict in ways.items() if verdict.verdict == "beneficial"
        ]
        if "joint" in possible and not given.source_at_hand:
            possible.remove("joint")
            reasons.append("joint training needs the source's data, which are gone")
        back = self.joint.get((target, source))
        harms = back is not None and back.verdict == "harmful"
        if "joint" in possible and not given.only_target_matters and back is not None and harms:
            possible.remove("joint")
            reasons.append(f"joint training harms the source: {_said(back)}")
        beyond = self.beyond_own_inputs.get(pair)
        if "sequential" in possible and beyond is not None and beyond.verdict != "beneficial":
            reasons.append(
                "pretraining on the target's own inputs, without the source, was not found to be "
                f"worse ({_said(beyond)} against it): try that first"
            )
        if not possible:
            reasons.append("nothing that is possible was found to help")
            return Advice(source, target, "neither", tuple(reasons))
        if len(possible) == 1:
            return Advice(source, target, possible[0], tuple(reasons))
        difference = self.difference[pair]
        if difference.verdict in ("beneficial", "harmful"):
            way: Way = "sequential" if difference.verdict == "beneficial" else "joint"
            reasons.append(f"sequential against joint: {_said(difference)}")
        else:
            way = "sequential" if given.only_target_matters else "joint"
            reasons.append(
                "the two cannot be told apart; "
                + (
                    "only the target matters, and transfer needs the source once"
                    if given.only_target_matters
                    else "both tasks matter, and one network serves both"
                )
            )
        return Advice(source, target, way, tuple(reasons))


def compare_joint(
    problem: Problem,
    sources: Sources,
    transfer: Transfer,
    settings: TrainingSettings | None = None,
    store: str | Path | None = None,
) -> JointOrSequential:
    """Train every source that is a task jointly with every target, beside `transfer`.

    On the same replicates: from scratch in `transfer` and alone here is one and the same training.

    Args:
        problem: Tasks, trunk and heads.
        sources: Those of `transfer`.
        transfer: Measured on all rows of the targets.
        settings: How to train; the problem's own if None.
        store: A folder in which finished trainings are kept.
    """
    pairs = [pair for pair in transfer.pairs if pair[0] in problem.names]
    if not pairs:
        raise InputError(
            f"Expected sources that are tasks, to train them jointly with targets, but got "
            f"{list(transfer.sources)}."
        )
    reverse = [(target, source) for source, target in pairs]
    both = list(dict.fromkeys(frozenset(pair) for pair in pairs))
    alone = list(dict.fromkeys(frozenset({name}) for pair in pairs for name in pair))
    measured = train_networks(
        problem, [*alone, *both], sources.replicates, settings=settings, store=store
    )
    test = transfer.test
    every = list(dict.fromkeys([*pairs, *reverse]))
    joint = _joint(measured, every, None)
    tuned = transfer.gains().of([f"{source}{ARROW}{target}" for source, target in pairs])
    together = _joint(measured, pairs, tuned)
    return JointOrSequential(
        sequential={pair: transfer.verdicts[pair] for pair in pairs},
        joint=dict(zip(every, test(joint), strict=True)),
        difference=dict(zip(pairs, test(together), strict=True)),
        beyond_own_inputs={
            pair: verdict for pair, verdict in transfer.beyond_own_inputs.items() if pair in pairs
        },
        rows={
            target: min(
                int(replicate.training.labelled[:, at].sum()) for replicate in sources.replicates
            )
            for at, target in enumerate(problem.names)
        },
    )


def _joint(measured: TrainingResults, pairs: list[tuple[str, str]], tuned: Gains | None) -> Gains:
    """Joint against alone; with `tuned`, those against joint."""
    row_of = {network: row for row, network in enumerate(measured.networks)}

    def losses(network: frozenset[str], target: str) -> tuple[torch.Tensor, torch.Tensor]:
        row = row_of[network]
        at = measured.tasks.index(target)
        return measured.test_loss[row, :, at], measured.test_blocks[row][target]

    together = [losses(frozenset(pair), pair[1]) for pair in pairs]
    alone = [losses(frozenset({target}), target) for _, target in pairs]
    names = tuple(f"{source}{ARROW}{target}" for source, target in pairs)
    scores = torch.stack([loss for loss, _ in together], dim=1)
    blocks = _stacked([each for _, each in together])
    if tuned is None:
        return Gains(
            tasks=names,
            scores=scores,
            baseline=torch.stack([loss for loss, _ in alone], dim=1),
            score_blocks=blocks,
            baseline_blocks=_stacked([each for _, each in alone]),
        )
    own = tuned.score_blocks
    if own is not None:
        own = own[:, :, : blocks.shape[2]]
    return Gains(
        tasks=names,
        scores=tuned.scores,
        baseline=scores,
        score_blocks=own,
        baseline_blocks=blocks if own is not None else None,
    )


def _stacked(blocks: list[torch.Tensor]) -> torch.Tensor:
    """Blocks ``[replicate block]`` side by side; NaN beyond a task's own."""
    most = max(each.shape[1] for each in blocks)
    padded = [
        torch.nn.functional.pad(each, (0, most - each.shape[1]), value=math.nan) for each in blocks
    ]
    return torch.stack(padded, dim=1)


def _said(verdict: Verdict) -> str:
    if math.isnan(verdict.low):
        return f"{verdict.verdict}, {verdict.gain:+.1%}"
    return f"{verdict.verdict}, {verdict.gain:+.1%} ({verdict.low:+.1%} to {verdict.high:+.1%})"
