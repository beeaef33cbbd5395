"""The context of a diagnosis: a plan and its replicates, retrained with one change at a time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from affinity.audit.trainings import CandidatePlan, Trainings, jobs_of, run_jobs
from affinity.errors import InputError
from affinity.problems import NetworkTrainer, record
from affinity.problems.network_trainer import NetworkResult
from affinity.recommendation import Plan
from affinity.recording import Trace
from affinity.statistics import Gains, NegativeTransferTest
from affinity.tasks import Score
from affinity.tasks.score import common_unit
from affinity.training import Result, Trainer
from affinity.training.protocol import Setting

from .intervention import Intervention

Version = tuple[Plan, Mapping[str, Setting]]  # a plan with the settings of its jobs


@dataclass(frozen=True, eq=False)
class PlanLosses:
    """Scores of a plan, such as losses; each task's score is from the network that serves it.

    Validation and training losses and epochs are known of our own networks only; NaN otherwise.

    Args:
        evaluation: Scores on the rows used for decisions.
        validation: Losses on validation rows, which are used for early stopping.
        best_epoch: For each task, the epoch with its own lowest validation loss.
        parameters: Total number of parameters of all networks; None if unknown.
    """

    evaluation: Float[Tensor, "replicate task"]
    test: Float[Tensor, "replicate task"]
    validation: Float[Tensor, "replicate task"]
    training: Float[Tensor, "replicate task"]
    best_epoch: Float[Tensor, "replicate task"]
    parameters: int | None

    @property
    def unknown(self) -> Bool[Tensor, "replicate task"]:
        """Scores on decision or test rows that are missing, of tasks that have others."""
        parts = [scores.isnan() for scores in (self.evaluation, self.test)]
        return torch.stack([part & ~part.all(dim=0) for part in parts]).any(dim=0)

    def on(self, replicates: Sequence[int]) -> "PlanLosses":
        """The scores on some of the replicates."""
        tables = ("evaluation", "test", "validation", "training", "best_epoch")
        return replace(self, **{name: getattr(self, name)[list(replicates)] for name in tables})


@dataclass(frozen=True, eq=False)
class DiagnosisContext:
    """A plan whose harm is to be explained, compared with separate networks.

    Args:
        seeds: One per replicate; the same for everything that is compared. Replicates on which a
            training of the plan or of separate networks fails are left out.
        trace: A recorded run of all tasks in one network, with its layers; if None, it is recorded
            when needed, where the trainer trains our own networks.
        instead: Another plan with less sharing, tried as an intervention.
    """

    trainer: Trainer
    tasks: Mapping[str, Score]
    plan: Plan
    seeds: Sequence[int]
    trace: Trace | None = None
    instead: Plan | None = None
    retries: int = 0

    @property
    def own(self) -> NetworkTrainer | None:
        """The trainer, if it trains our own networks: it can do more than `Job` settings say."""
        return self.trainer if isinstance(self.trainer, NetworkTrainer) else None

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the tasks."""
        return tuple(self.tasks)

    def offers(self, setting: str) -> bool:
        """Whether the trainer accepts a setting of jobs."""
        return setting in self.trainer.accepts

    @cached_property
    def recorded(self) -> Trace | None:
        """The recorded run; None if there is none."""
        if self.trace is not None or self.own is None:
            return self.trace
        problem = self.own.problem
        n_rows, batch = len(problem.draw(self.seeds[0]).training), problem.settings.batch_size
        every = min(10, -(-n_rows // batch))  # in a short run at least once per epoch
        return record(problem, every=every, seed=self.seeds[0], layers=True)

    @cached_property
    def separate(self) -> Plan:
        """One network per task."""
        return Plan.separate(self.names)

    @cached_property
    def shares(self) -> bool:
        """Whether any network of the plan has more than one task."""
        return any(not network.is_alone for network in self.plan.grouping.networks)

    @cached_property
    def joint(self) -> PlanLosses:
        """The plan, unchanged."""
        return self._usual[0].on(self.replicates)

    @cached_property
    def alone(self) -> PlanLosses:
        """Separate networks, unchanged."""
        return self._usual[1].on(self.replicates)

    @cached_property
    def _usual(self) -> tuple[PlanLosses, PlanLosses]:
        """The plan and separate networks, unchanged, on all replicates."""
        versions = [(self.plan, {}), (self.separate, {})]
        joint, alone = self._train(versions, self.trainer, None, self.seeds)
        return joint, alone

    @cached_property
    def replicates(self) -> list[int]:
        """The replicates on which neither the plan nor separate networks lack scores.

        Raises:
            InputError: If there are none.
        """
        usual = self._usual
        is_unknown = torch.stack([losses.unknown for losses in usual]).any(dim=0).any(dim=1)
        complete = (~is_unknown).nonzero().flatten().tolist()
        if not complete or any(losses.evaluation.isnan().all() for losses in usual):
            raise InputError(
                "Expected trainings of the plan and of separate networks that succeed with one "
                "seed, but some failed with each. Fix the cause, and diagnose again.",
                "all-trainings-failed",
            )
        return complete

    @cached_property
    def harmed(self) -> tuple[str, ...]:
        """The tasks that sharing is shown to harm, on selection rows."""
        return tuple(
            verdict.task
            for verdict in NegativeTransferTest()(self._gains)
            if verdict.verdict == "harmful"
        )

    @cached_property
    def are_harmed_together(self) -> bool:
        """Whether harm to the mean over all tasks is shown, and more clearly than to `harmed`.

        More clearly means that the mean is more standard errors away from 0.
        """
        if NegativeTransferTest().overall(self._gains).verdict != "harmful":
            return False
        every, harmed = (
            gains.estimate_overall().beyond(0.0)
            for gains in (self._gains, self._gains.of(self.harmed or self.names))
        )
        return bool(every.mean[0] * harmed.error[0] <= harmed.mean[0] * every.error[0])

    @property
    def concerned(self) -> list[int]:
        """Columns of the tasks on which interventions are evaluated.

        All tasks if `are_harmed_together` or if no task is harmed; else the harmed tasks.
        """
        names, are_all = self.names, self.are_harmed_together or not self.harmed
        return [column for column, name in enumerate(names) if are_all or name in self.harmed]

    @property
    def _gains(self) -> Gains:
        return self.gains(self.joint, self.alone)

    def gains(self, joint: PlanLosses, alone: PlanLosses) -> Gains:
        """Gains on selection rows."""
        scores = tuple(self.tasks.values())
        return Gains(self.names, joint.evaluation, alone.evaluation, scores)

    def losses(
        self,
        plan: Plan,
        settings: Mapping[str, Setting] | None = None,
        trainer: Trainer | None = None,
        sharing: str | None = None,
    ) -> PlanLosses:
        """Train a plan's networks with something changed.

        Args:
            sharing: How all networks of several tasks share, instead of as planned.
        """
        return self.losses_of_each([(plan, settings or {})], trainer, sharing)[0]

    def losses_of_each(
        self,
        versions: Sequence[Version],
        trainer: Trainer | None = None,
        sharing: str | None = None,
    ) -> list[PlanLosses]:
        """Train several plans, each with the settings of its jobs, all in one call."""
        seeds = [self.seeds[replicate] for replicate in self.replicates]
        return self._train(versions, trainer or self.trainer, sharing, seeds)

    def with_each(
        self, setting: str, values: Sequence[Setting]
    ) -> list[tuple[PlanLosses, PlanLosses]]:
        """The plan and separate networks with each value of a setting, all in one call."""
        losses = self.losses_of_each(
            [(plan, {setting: value}) for value in values for plan in (self.plan, self.separate)]
        )
        return list(zip(losses[::2], losses[1::2], strict=True))

    def _train(
        self,
        versions: Sequence[Version],
        trainer: Trainer,
        sharing: str | None,
        seeds: Sequence[int],
    ) -> list[PlanLosses]:
        width = None if self.own is None else self.own.problem.width
        candidates = {
            str(number): replace(CandidatePlan.fixed(plan, settings, width), sharing=sharing)
            for number, (plan, settings) in enumerate(versions)
        }
        results = run_jobs(trainer, jobs_of(candidates, seeds), self.retries)
        trainings = Trainings.from_results(self.tasks, candidates, seeds, results)
        return [_read_losses(trainings, name) for name in candidates]

    def harm(
        self, joint: PlanLosses, alone: PlanLosses | None = None, scale: PlanLosses | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Excess loss over separate networks `[replicate task]`, on evaluation and on test rows.

        As a share of `scale`, by default the loss of unchanged separate networks. Scores that are
        compared by differences have no such share: how much worse they are, on the common scale
        of all tasks (`Score.scale`).
        """
        alone, scale = alone or self.alone, scale or self.alone
        return (
            self._excess(joint.evaluation, alone.evaluation, scale.evaluation),
            self._excess(joint.test, alone.test, scale.test),
        )

    def intervention(
        self,
        name: str,
        advice: str,
        joint: PlanLosses,
        alone: PlanLosses | None = None,
        *,
        passes: float = 1.0,
        decides: bool = True,
    ) -> Intervention:
        """The loss that a change recovers.

        Args:
            alone: Separate networks with the change, if it applies to them.
            passes: Backward passes per step, as a multiple of the plan's.
            decides: Whether a recovery shows that the cause is at work.
        """
        before, after = self.harm(self.joint), self.harm(joint, alone)
        return Intervention(
            name=name,
            advice=advice,
            evaluation=before[0] - after[0],
            test=before[1] - after[1],
            parameters=self.times_parameters(joint, self.joint) or 1.0,
            passes=passes,
            decides=decides,
        )

    @staticmethod
    def times_parameters(losses: PlanLosses, others: PlanLosses) -> float | None:
        """Parameters as a multiple of those of others; None if unknown."""
        if losses.parameters is None or not others.parameters:
            return None
        return losses.parameters / others.parameters

    def format_harm(
        self, joint: PlanLosses, alone: PlanLosses | None = None, scale: PlanLosses | None = None
    ) -> str:
        """The harm on selection rows, as a mean over the tasks of `concerned`, as text."""
        return self.format(self.harm(joint, alone, scale)[0][:, self.concerned])

    def format(self, harm: np.ndarray) -> str:
        """A mean harm as text: in percent, or as a number if scores are compared by differences."""
        known = harm[np.isfinite(harm)]
        if not len(known):
            return "an unknown amount"
        mean = float(known.mean())
        is_relative = common_unit(self.tasks.values()) == "relative"
        return f"{100 * mean:+.1f} %" if is_relative else f"{mean:+.3g}"

    def _excess(self, joint: Tensor, alone: Tensor, scale: Tensor) -> np.ndarray:
        size = scale.double().mean(dim=0).abs()
        size = size.where(size > 0, torch.nan)
        scores = self.tasks.values()
        is_relative = torch.tensor([score.is_relative for score in scores])
        size = torch.where(is_relative, size, torch.ones_like(size))
        factors = torch.tensor([-score.sign * score.scale for score in scores]).double()
        return (factors * (joint - alone).double() / size).numpy()


def _read_losses(trainings: Trainings, candidate: str) -> PlanLosses:
    def table(name: str) -> Tensor:
        def read(result: Result) -> Mapping[str, float] | None:
            network = result.network if isinstance(result, NetworkResult) else None
            return None if network is None else getattr(network, name)

        return trainings.table(candidate, read)

    parameters = [result.parameters for _, result in trainings.candidates[candidate][0]]
    known = [count for count in parameters if count is not None]
    return PlanLosses(
        evaluation=trainings.table(candidate, trainings.decided),
        test=trainings.table(candidate, trainings.judged),
        validation=table("validation_loss"),
        training=table("training_loss"),
        best_epoch=table("best_epoch_of_task"),
        parameters=sum(known) if len(known) == len(parameters) else None,
    )
