"""An audit: a plan retrained together with its baselines, and the result of the comparison."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
from torch import Tensor

from affinity import markup, storage
from affinity.errors import InputError
from affinity.estimates import AffinityMatrix
from affinity.recommendation import Plan
from affinity.statistics import Gains, NegativeTransferTest, Verdict
from affinity.training import TrainedNetwork
from affinity.words import count

from .agreement import Agreement
from .baselines import RANDOM
from .context import AuditContext
from .evaluated_plan import EvaluatedPlan
from .gates import Gates
from .reference import Reference
from .summary import (
    SCHEMA_VERSION,
    AuditSummary,
    CandidateSummary,
    GroupingSummary,
    MetricDifference,
    NetworkSummary,
    ReferenceSummary,
    ReferenceTask,
    TaskSummary,
    finite,
    summarize_gain,
    summarize_gates,
    summarize_verdict,
    write_json,
)
from .task_description import TaskDescription


@dataclass(frozen=True, eq=False)
class Audit:
    """Measured gains of a plan and its baselines over separate networks.

    `affinity.save` writes it to a file, `affinity.load` reads it; `affinity.write_report` writes an
    HTML report.

    Args:
        problem: The problem's name.
        tasks: The tasks, with the names of their losses and metrics.
        plan: The plan that was audited.
        candidates: By name: "plan", "separate", "all-in-one" and other baselines.
        matrix: The affinities that the plan was made from, if known.
        test: The statistical test behind the verdicts.
        context: How the audit was made, and its limitations.
        networks: The trained networks of each candidate, if they were kept: for each network, in
            the order of the plan, one entry per replicate.
        gates: Statistics of the gates of each network of the plan; None for a network that is not a
            mixture of experts, or that was trained by an external trainer.
        reference: A model per task that shares nothing, if it was trained.
    """

    problem: str
    tasks: tuple[TaskDescription, ...]
    plan: Plan
    candidates: Mapping[str, EvaluatedPlan]
    matrix: AffinityMatrix | None = None
    test: NegativeTransferTest = field(default_factory=NegativeTransferTest)
    context: AuditContext = field(default_factory=AuditContext)
    networks: Mapping[str, tuple[tuple[TrainedNetwork, ...], ...]] = field(
        default_factory=dict[str, tuple[tuple[TrainedNetwork, ...], ...]]
    )
    gates: tuple[Gates | None, ...] = ()
    reference: Reference | None = None

    @property
    def gains(self) -> Gains:
        """Test losses under the plan compared with those of separate networks."""
        return self.candidates["plan"].test

    @property
    def verdicts(self) -> dict[str, Verdict]:
        """One verdict per task: the plan against a separate network."""
        return self.verdicts_of("plan")

    def verdicts_of(self, candidate: str) -> dict[str, Verdict]:
        """One verdict per task: any candidate against a separate network.

        Raises:
            InputError: If there is no such candidate.
        """
        if candidate not in self.candidates:
            raise InputError(
                f"Expected one of the candidates {list(self.candidates)}, but got {candidate!r}.",
                "unknown-candidate",
            )
        return {verdict.task: verdict for verdict in self.test(self.candidates[candidate].test)}

    @property
    def overall(self) -> Verdict:
        """The verdict on the mean gain over the tasks: the plan against separate networks."""
        return self.overall_of("plan")

    def overall_of(self, candidate: str) -> Verdict:
        """The verdict on the mean gain over the tasks for any candidate."""
        return self.test.overall(self.candidates[candidate].test)

    @property
    def advice(self) -> str:
        """The candidate to use, chosen on evaluation rows; test rows have no influence.

        Among the candidates whose mean gain is within the test's tolerance of the best one, it is
        the one with the fewest networks; ties are broken by the number of parameters. A random
        grouping is never advised.
        """
        gains = {
            name: gain
            for name, candidate in self.candidates.items()
            if name != RANDOM and np.isfinite(gain := candidate.evaluation.overall().mean())
        }
        enough = max(gains.values()) - self.test.tolerance

        def size(name: str) -> tuple[int, int]:
            candidate = self.candidates[name]
            return len(candidate.plan.grouping.networks), candidate.parameters

        return min((name for name, gain in gains.items() if gain >= enough), key=size)

    @property
    def reference_overall(self) -> Verdict | None:
        """The verdict on the mean gain of the reference over the advised networks."""
        if self.reference is None:
            return None
        advised = self.candidates[self.advice].test
        return replace(self.test, looks=()).overall(self.reference.gains_over(advised))

    @property
    def agreement(self) -> Agreement | None:
        """How well the affinities predicted the gains of the plan and of all-in-one."""
        if self.matrix is None:
            return None
        compared = [self.candidates[name] for name in ("plan", "all-in-one")]
        return Agreement.from_plans(self.matrix, compared)

    def networks_of(self, candidate: str, replicate: int = 0) -> tuple[TrainedNetwork, ...]:
        """The kept networks of a candidate for one replicate, in the order of its plan.

        Raises:
            InputError: If the networks were not kept.
        """
        if not self.networks:
            raise InputError(
                "Expected trained networks, but this audit kept none: use retrain(..., keep=True).",
                "networks-not-kept",
            )
        return tuple(network[replicate] for network in self.networks[candidate])

    def summary(self) -> AuditSummary:
        """The content of `audit.json`: verdicts, scores and costs; undefined numbers are None."""
        grouping = self.plan.grouping
        return AuditSummary(
            schema_version=SCHEMA_VERSION,
            problem=self.problem,
            n_replicates=self.gains.n_replicates,
            advice=self.advice,
            overall=summarize_verdict(self.overall),
            tasks=_summarize_tasks(self),
            networks=_summarize_networks(self),
            grouping=GroupingSummary(
                grouping.score, grouping.bound, grouping.is_optimal, grouping.solver
            ),
            candidates={
                name: CandidateSummary(
                    networks=len(candidate.plan.grouping.networks),
                    width=candidate.plan.width or self.context.width,
                    parameters=candidate.parameters or None,
                    multiply_adds=candidate.multiply_adds,
                    seconds=finite(candidate.seconds),
                    verdict=self.overall_of(name).verdict,
                    gain=summarize_gain(candidate.test),
                    evaluation_gain=summarize_gain(candidate.evaluation),
                )
                for name, candidate in self.candidates.items()
            },
            agreement=self.agreement,
            context=self.context,
            reference=_summarize_reference(self),
        )

    def to_json(self, path: str | Path | None = None) -> str:
        """The summary as JSON; also written to `path`, if one is given."""
        return write_json(self.summary(), path)

    def save(self, path: str | Path) -> Path:
        """Write the audit to a file with `affinity.save`."""
        return storage.save(self, path)

    @staticmethod
    def load(path: str | Path) -> "Audit":
        """Read an audit that `save` wrote.

        Raises:
            InputError: If the file holds something else.
        """
        return storage.load_as(Audit, path)

    def _repr_html_(self) -> str:
        """For notebooks: one row per task, with its verdict."""
        caption = (
            f"{self.problem}: {count(self.gains.n_replicates, 'replicate')}, advice: {self.advice}"
        )
        rows: list[list[str]] = []
        colours: list[list[str]] = []
        for verdict in self.verdicts.values():
            score = self.gains.score_of[verdict.task]
            interval = f"{score.format(verdict.low)} to {score.format(verdict.high)}"
            rows.append(
                [
                    verdict.task,
                    verdict.verdict,
                    score.format(verdict.gain),
                    "" if np.isnan(verdict.low) else interval,
                ]
            )
            sign = {"beneficial": 1.0, "harmful": -1.0}.get(verdict.verdict, 0.0)
            colours.append(["", markup.diverging(sign, 2.0) if sign else "", "", ""])
        header = ["task", "verdict", "gain of the plan", "95 % interval"]
        return markup.table(header, rows, caption, colours)


def _summarize_tasks(audit: Audit) -> tuple[TaskSummary, ...]:
    differences = audit.candidates["plan"].metrics.frame()
    all_in_one = audit.verdicts_of("all-in-one")
    losses = {name: _means(each.test.scores) for name, each in audit.candidates.items()}
    metrics = {name: _means(each.metrics.scores) for name, each in audit.candidates.items()}
    return tuple(
        TaskSummary(
            name=task.name,
            **asdict(summarize_verdict(verdict)),
            all_in_one=summarize_verdict(all_in_one[task.name]),
            loss={name: means[column] for name, means in losses.items()},
            metric_name=task.metric,
            metric={name: means[column] for name, means in metrics.items()},
            metric_difference=MetricDifference(
                finite(differences["difference"][column]),
                finite(differences["difference_low"][column]),
                finite(differences["difference_high"][column]),
            ),
        )
        for column, (task, verdict) in enumerate(
            zip(audit.tasks, audit.verdicts.values(), strict=True)
        )
    )


def _summarize_reference(audit: Audit) -> ReferenceSummary | None:
    reference, overall = audit.reference, audit.reference_overall
    if reference is None or overall is None:
        return None
    advised = audit.candidates[audit.advice].test
    verdicts = reference.verdicts_over(advised, replace(audit.test, looks=()))
    scores, metrics = _means(reference.scores), _means(reference.metrics)
    return ReferenceSummary(
        reference.name,
        len(reference.scores),
        reference.seconds,
        summarize_gain(reference.gains_over(audit.candidates["separate"].test)),
        summarize_verdict(overall),
        {
            task: ReferenceTask(score, metric, summarize_verdict(verdict))
            for task, score, metric, verdict in zip(
                reference.tasks, scores, metrics, verdicts, strict=True
            )
        },
    )


def _summarize_networks(audit: Audit) -> tuple[NetworkSummary, ...]:
    plan, costs = audit.plan, audit.candidates["plan"].costs
    none = (None,) * len(plan.grouping.networks)
    return tuple(
        NetworkSummary(
            serves=tuple(sorted(network.served)),
            trains=tuple(sorted(network.trained)),
            sharing=sharing,
            settings=settings,
            reason=reason,
            parameters=None if cost is None else cost.parameters,
            multiply_adds=None if cost is None else cost.multiply_adds,
            gates=None if gates is None else summarize_gates(gates),
        )
        for network, sharing, settings, reason, cost, gates in zip(
            plan.grouping.networks,
            plan.sharing,
            plan.settings,
            plan.reasons,
            costs or none,
            audit.gates or none,
            strict=True,
        )
    )


def _means(scores: Tensor) -> list[float | None]:
    return [finite(mean) for mean in scores.double().mean(dim=0).tolist()]
