"""The context of a diagnosis: a plan and its replicates, retrained with one change at a time."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from affinity.audit.train_plans import PlanResults, specs_of, train_plans
from affinity.problems import Problem, record, train_networks
from affinity.recommendation import Plan
from affinity.recording import Trace
from affinity.sharing import Cost, MakeSharing
from affinity.statistics import Gains, NegativeTransferTest
from affinity.tasks import Replicate
from affinity.training import TrainingSettings

from .intervention import Intervention


@dataclass(frozen=True, eq=False)
class PlanLosses:
    """Losses of a plan; each task's loss is from the network that serves it.

    Args:
        evaluation: Losses on evaluation rows.
        validation: Losses on validation rows, which are used for early stopping.
        test: Losses on test rows.
        training: Losses on training rows.
        best_epoch: For each task, the epoch with its own lowest validation loss.
        parameters: Total number of parameters of all networks.
    """

    evaluation: Float[Tensor, "replicate task"]
    validation: Float[Tensor, "replicate task"]
    test: Float[Tensor, "replicate task"]
    training: Float[Tensor, "replicate task"]
    best_epoch: Float[Tensor, "replicate task"]
    parameters: int


@dataclass(frozen=True, eq=False)
class DiagnosisContext:
    """A plan whose harm is to be explained, compared with separate networks.

    Args:
        problem: Tasks, rows, trunk and heads.
        plan: The plan.
        replicates: The replicates; the same for everything that is compared.
        trace: A recorded run of all tasks in one network, with its layers; if None, it is recorded
            when needed.
        instead: Another plan with less sharing, tried as an intervention.
        store: A folder in which finished trainings are kept.
    """

    problem: Problem
    plan: Plan
    replicates: Sequence[Replicate]
    trace: Trace | None = None
    instead: Plan | None = None
    store: Path | None = None

    @cached_property
    def recorded(self) -> Trace:
        """The recorded run."""
        if self.trace is not None:
            return self.trace
        first, batch = self.replicates[0], self.problem.settings.batch_size
        every = min(10, -(-len(first.training) // batch))  # in a short run at least once per epoch
        return record(self.problem, every=every, seed=first.seed, layers=True)

    @cached_property
    def separate(self) -> Plan:
        """One network per task."""
        return Plan.separate(self.problem.names)

    @cached_property
    def shares(self) -> bool:
        """Whether any network of the plan has more than one task."""
        return any(not network.is_alone for network in self.plan.grouping.networks)

    @cached_property
    def joint(self) -> PlanLosses:
        """The plan, unchanged."""
        return self.losses(self.plan)

    @cached_property
    def alone(self) -> PlanLosses:
        """Separate networks, unchanged."""
        return self.losses(self.separate)

    @cached_property
    def harmed(self) -> tuple[str, ...]:
        """The tasks that sharing is shown to harm, on evaluation rows."""
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
            for gains in (self._gains, self._gains.of(self.harmed or self.problem.names))
        )
        return bool(every.mean[0] / every.error[0] <= harmed.mean[0] / harmed.error[0])

    @property
    def concerned(self) -> list[int]:
        """Columns of the tasks on which interventions are evaluated.

        All tasks if `are_harmed_together` or if no task is harmed; else the harmed tasks.
        """
        names, are_all = self.problem.names, self.are_harmed_together or not self.harmed
        return [column for column, name in enumerate(names) if are_all or name in self.harmed]

    @property
    def _gains(self) -> Gains:
        return Gains(self.problem.names, self.joint.evaluation, self.alone.evaluation)

    def losses(
        self,
        plan: Plan,
        problem: Problem | None = None,
        settings: TrainingSettings | None = None,
        make: MakeSharing | None = None,
        replicates: Sequence[Replicate] | None = None,
    ) -> PlanLosses:
        """Train a plan's networks with something changed.

        Args:
            plan: The networks.
            problem: The problem with another trunk width.
            settings: Other training settings.
            make: Makes the networks of several tasks, with another way to share.
            replicates: Replicates with other rows.
        """
        problem, replicates = problem or self.problem, replicates or self.replicates
        settings = settings or problem.settings
        if make is None:
            results = train_plans([plan], problem, replicates, settings, self.store)
        else:
            groups = [network.trained for network in plan.grouping.networks]
            trained = train_networks(problem, groups, replicates, settings, make, self.store)
            specs = [spec for _, spec in specs_of(plan)]
            results = PlanResults(
                problem.names,
                {spec: (trained, row) for row, spec in enumerate(specs)},
                {spec: Cost(n, 0) for spec, n in zip(specs, trained.parameters, strict=True)},
            )
        return PlanLosses(
            evaluation=results.served(plan, "evaluation_loss"),
            validation=results.served(plan, "validation_loss"),
            test=results.served(plan, "test_loss"),
            training=results.served(plan, "training_loss"),
            best_epoch=results.served(plan, "best_epoch_of_task"),
            parameters=results.cost(plan).parameters,
        )

    def harm(
        self, joint: PlanLosses, alone: PlanLosses | None = None, scale: PlanLosses | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Excess loss over separate networks `[replicate task]`, on evaluation and on test rows.

        As a share of `scale`, by default the loss of unchanged separate networks.
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
            name: What was changed.
            advice: What to do.
            joint: The plan with the change.
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
            parameters=joint.parameters / self.joint.parameters,
            passes=passes,
            decides=decides,
        )

    def format_harm(
        self, joint: PlanLosses, alone: PlanLosses | None = None, scale: PlanLosses | None = None
    ) -> str:
        """The harm on evaluation rows in percent, as a mean over the tasks of `concerned`."""
        harm = self.harm(joint, alone, scale)[0][:, self.concerned]
        return f"{100 * float(np.nanmean(harm)):+.1f} %"

    @staticmethod
    def _excess(joint: Tensor, alone: Tensor, scale: Tensor) -> np.ndarray:
        size = scale.double().mean(dim=0).abs()
        return ((joint - alone).double() / size.where(size > 0, torch.nan)).numpy()
