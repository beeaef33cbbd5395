"""An audit: a plan retrained together with its baselines, and the result of the comparison."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from affinity import markup, storage
from affinity.errors import InputError, check_choice
from affinity.estimates import AffinityMatrix
from affinity.grouping import Grouping
from affinity.recommendation import Plan
from affinity.statistics import Gains, NegativeTransferTest, Verdict, without_verdict
from affinity.storage import write_json
from affinity.training import TrainedNetwork
from affinity.training.settings import USUAL_EPOCHS
from affinity.words import count

from .agreement import Agreement
from .alert import Alert
from .alerts import NEAR_ZERO, audit_alerts
from .baselines import BASELINES, RANDOM, SAME_SIZE
from .context import AuditContext
from .evaluated_plan import EvaluatedPlan
from .gates import Gates
from .reference import Reference
from .summary import (
    SCHEMA_VERSION,
    AuditSummary,
    CandidateSummary,
    GroupingSummary,
    MeanSummary,
    NetworkSummary,
    ReferenceSummary,
    ReferenceTask,
    TaskSummary,
    finite,
    summarize_gain,
    summarize_gates,
    summarize_verdict,
)
from .task_description import TaskDescription

MOST_UNFINISHED = 0.5  # share of the tasks
PROPOSED = "proposed"
"""The plan that was audited, after the decision for another candidate."""


@dataclass(frozen=True, eq=False)
class Audit(markup.ShownAsTable):
    """Measured gains of a plan and its baselines over separate networks.

    `affinity.save` writes it to a file, `affinity.load` reads it; `affinity.write_report` writes an
    HTML report.

    Args:
        tasks: The tasks, with the names of their losses and metrics.
        candidates: By name: "plan", "separate", "all-in-one" and other baselines.
        matrix: The affinities that the plan was made from, if known.
        context: How the audit was made, and its limitations.
        networks: The trained networks of each candidate, if they were kept: for each network, in
            the order of the plan, one entry per replicate.
        gates: Statistics of the gates of each network of the plan; None for a network that is not a
            mixture of experts, or that was trained by an external trainer.
        reference: A model per task that shares nothing, if it was trained.

    Example:
        >>> from affinity.audit import audit_plan
        >>> from affinity.training import FunctionTrainer
        >>> def train(tasks, seed):  # together, both tasks reach 0.75 instead of 0.70
        ...     return {task: 0.65 + 0.05 * len(tasks) + 0.001 * seed for task in tasks}
        >>> scores = {"click": "maximize", "like": "maximize"}
        >>> plan = Plan.all_in_one(("click", "like"))
        >>> audit = audit_plan(plan, FunctionTrainer(train), scores, replicates=3)
        >>> verdict = audit.verdicts["click"]
        >>> verdict.verdict, round(verdict.gain, 3), verdict.unit
        ('beneficial', 0.05, 'difference')
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
        check_choice("the candidate", candidate, self.candidates, "unknown-candidate")
        if candidate not in self._verdicts:
            self._verdicts[candidate] = self._judge(self.candidates[candidate].test, self.test)
        return self._verdicts[candidate]

    @property
    def overall(self) -> Verdict:
        """The verdict on the mean gain over the tasks: the plan against separate networks."""
        return self.overall_of("plan")

    def overall_of(self, candidate: str) -> Verdict:
        """The verdict on the mean gain over the tasks for any candidate.

        Tasks with too few test labels are left out of the mean.
        """
        if candidate not in self._overall:
            self._overall[candidate] = self._judge_mean(self.candidates[candidate].test, self.test)
        return self._overall[candidate]

    def averaged(self, gains: Gains) -> Gains:
        """The gains that enter means over tasks, and decisions: of tasks with enough test labels.

        If none of the tasks has enough, the gains of all of them.
        """
        left_out = set(self.left_out_of_means)
        kept = [task for task in gains.tasks if task not in left_out]
        return gains.of(kept) if left_out and kept else gains

    def selection_gain(self, candidate: str) -> float:
        """The mean gain of a candidate on selection rows, over the same tasks as on test rows."""
        return float(self.averaged(self.candidates[candidate].evaluation).overall().mean())

    def _judge(self, gains: Gains, test: NegativeTransferTest) -> dict[str, Verdict]:
        """By task; tasks with too few labels have no verdict."""
        few = [task for task in gains.tasks if task in self.too_few_labels]
        verdicts = {verdict.task: verdict for verdict in test(self.averaged(gains))}
        if few:
            verdicts |= {each.task: without_verdict(each) for each in test(gains.of(few))}
        return {task: verdicts[task] for task in gains.tasks}

    def _judge_mean(self, gains: Gains, test: NegativeTransferTest) -> Verdict:
        """The verdict on the mean gain; none if every task has too few labels."""
        verdict = test.overall(self.averaged(gains))
        has_enough = len(self.too_few_labels) < len(self.tasks)
        return verdict if has_enough else without_verdict(verdict)

    @cached_property
    def _verdicts(self) -> dict[str, dict[str, Verdict]]:
        return {}

    @cached_property
    def _overall(self) -> dict[str, Verdict]:
        return {}

    @cached_property
    def _harmed(self) -> dict[str, tuple[str, ...]]:
        return {}

    @property
    def advice(self) -> str:
        """The candidate to use, chosen on selection rows; test rows have no influence.

        Among the candidates whose mean gain is within the test's tolerance of the best one, it is
        the one that harms the fewest tasks (`harmed_on_selection`), and of those the one with the
        fewest networks; ties are broken by the number of parameters, then in favour of the plan. A
        random grouping is never advised, nor one with more networks than the budget, other than
        the plan itself.
        """

        def preference(name: str) -> tuple[int, int, int, bool]:
            n_harmed, parameters = (
                len(self.harmed_on_selection(name)),
                self.candidates[name].parameters,
            )
            return n_harmed, self._n_networks(name), parameters, name != "plan"

        return min(self.as_good_as_best, key=preference)

    @property
    def as_good_as_best(self) -> tuple[str, ...]:
        """The candidates among which advice is chosen.

        Those whose mean gain on selection rows is within the test's tolerance of the best one; the
        plan alone if failed trainings left no mean gain of any.
        """
        gains = {name: gain for name, gain in self._selection_gains.items() if self._fits(name)}
        if not gains:
            return ("plan",)
        enough = max(gains.values()) - self.test.tolerance
        return tuple(name for name, gain in gains.items() if gain >= enough)

    def harmed_on_selection(self, candidate: str) -> tuple[str, ...]:
        """The tasks with the verdict "harmful" on selection rows, compared with separate networks.

        None with a single replicate, which gives no verdicts.
        """
        if candidate not in self._harmed:
            gains = self.candidates[candidate].evaluation
            verdicts = self._judge(gains, replace(self.test, looks=())).values()
            self._harmed[candidate] = tuple(
                verdict.task for verdict in verdicts if verdict.verdict == "harmful"
            )
        return self._harmed[candidate]

    @property
    def passed_over(self) -> dict[str, tuple[str, ...]]:
        """Candidates that are as good on average with fewer networks, and the tasks they harm."""
        most = self._n_networks(self.advice)
        fewer = (name for name in self.as_good_as_best if self._n_networks(name) < most)
        return {name: self.harmed_on_selection(name) for name in fewer}

    def _n_networks(self, candidate: str) -> int:
        return len(self.candidates[candidate].plan.grouping.networks)

    @property
    def reference_overall(self) -> Verdict | None:
        """The verdict on the mean gain of the reference over the advised networks."""
        if self.reference is None:
            return None
        advised = self.candidates[self.advice].test
        return self._judge_mean(self.reference.gains_over(advised), replace(self.test, looks=()))

    @property
    def reference_verdicts(self) -> dict[str, Verdict]:
        """One verdict per task: the reference against the advised networks; empty without one."""
        if self.reference is None:
            return {}
        advised = self.candidates[self.advice].test
        return self._judge(self.reference.gains_over(advised), replace(self.test, looks=()))

    @property
    def beyond_budget(self) -> str | None:
        """A candidate that is better by more than the tolerance, but has too many networks."""
        gains = self._selection_gains
        if self.advice not in gains:
            return None
        best = max(gains, key=gains.__getitem__)
        is_better = gains[best] > gains[self.advice] + self.test.tolerance
        return best if is_better and not self._fits(best) else None

    @property
    def _selection_gains(self) -> dict[str, float]:
        """The mean gain on selection rows of each candidate that a plan can describe.

        That excludes the random grouping, wider or narrower networks of a trainer whose usual
        width is not known, and candidates without a score of a task that others serve.
        """
        width_unknown = () if self.context.width is not None else SAME_SIZE.values()
        is_defined = {
            name: np.isfinite(self.averaged(candidate.evaluation).estimate().mean)
            for name, candidate in self.candidates.items()
            if name != RANDOM and name not in width_unknown
        }
        is_served = np.any(list(is_defined.values()), axis=0)
        return {
            name: self.selection_gain(name)
            for name, defined in is_defined.items()
            if is_served.any() and (defined >= is_served).all()
        }

    def _fits(self, name: str) -> bool:
        budget, networks = self.context.budget, self.candidates[name].plan.grouping.networks
        return name == "plan" or budget is None or len(networks) <= budget

    def decide(self) -> "Audit":
        """The same audit with the advised candidate as its plan.

        The plan so far becomes the candidate "proposed". Advice, verdicts, headline, saved networks
        and JSON are then about one and the same plan.
        """
        advice = self.advice
        if advice == "plan":
            return self
        chosen = self.candidates[advice]
        selection = self.averaged(chosen.evaluation).estimate_overall()
        ends = [round(float(end[0]), 4) for end in selection.interval()]
        provenance = replace(
            self.plan.provenance,
            evidence=f"measured: chosen in an audit of {self.gains.n_replicates} replicates, on "
            "selection rows"
            + (", of networks that had not finished training" if self.is_unfinished else ""),
            sharing_evidence=f"as in the candidate {advice!r} of the audit",
            expected_gain=(round(float(selection.mean[0]), 4), *ends)
            if np.isfinite(ends).all()
            else None,
            probability=None,
            indistinguishable_from=(),
            unknown=None,
        )
        plan = replace(chosen.plan, provenance=provenance)
        others = {name: each for name, each in self.candidates.items() if name != "plan"}
        networks = dict(self.networks)
        if networks:
            networks |= {"plan": networks[advice], PROPOSED: networks["plan"]}
        return replace(
            self,
            plan=plan,
            candidates={
                "plan": replace(chosen, plan=plan),
                PROPOSED: self.candidates["plan"],
                **others,
            },
            networks=networks,
            gates=(None,) * len(plan.grouping.networks),
        )

    def name_of(self, grouping: Grouping) -> str | None:
        """The name of the first candidate of the usual width with these networks."""
        networks = frozenset(grouping.networks)
        for name, candidate in self.candidates.items():
            is_same = frozenset(candidate.plan.grouping.networks) == networks
            if is_same and name not in BASELINES and candidate.plan.width is None:
                return name
        return None

    @property
    def distinct(self) -> dict[str, tuple[str, ...]]:
        """The first candidate of each set of networks, with all names of these networks."""
        names: dict[str, tuple[str, ...]] = {}
        for name, candidate in self.candidates.items():
            for other in names:
                if _are_same(candidate, self.candidates[other]):
                    names[other] += (name,)
                    break
            else:
                names[name] = (name,)
        return names

    @cached_property
    def alerts(self) -> tuple[Alert, ...]:
        """Reasons to be careful with the result, the most serious first."""
        return tuple(audit_alerts(self))

    @property
    def unfinished_candidates(self) -> tuple[str, ...]:
        """Candidates of which most tasks' networks were still improving at the limit on epochs."""
        return tuple(
            name
            for name, candidate in self.candidates.items()
            if name != RANDOM and candidate.unfinished > MOST_UNFINISHED
        )

    @property
    def is_unfinished(self) -> bool:
        """Whether gains decide nothing yet: few epochs, and most networks were still improving."""
        most = self.most_epochs
        return most is not None and most < USUAL_EPOCHS and bool(self.unfinished_candidates)

    @property
    def most_epochs(self) -> int | None:
        """The limit on epochs of its trainings, if it is known."""
        epochs = self.context.settings.get("epochs")
        return None if epochs is None else int(epochs)

    @property
    def same_as_separate(self) -> tuple[str, ...]:
        """Tasks whose network in the plan is their separate network: a gain of 0 by definition."""
        plan, separate = (self.candidates[name].test.scores for name in ("plan", "separate"))
        is_same = (plan.nan_to_num() == separate.nan_to_num()).all(dim=0).tolist()
        return tuple(
            task.name
            for task, same in zip(self.tasks, is_same, strict=True)
            if same and self.plan.grouping.network_of(task.name).is_alone
        )

    @property
    def too_few_labels(self) -> tuple[str, ...]:
        """Tasks with too few test labels for a verdict."""
        return tuple(counts.task for counts in self.context.labels if counts.is_too_few)

    @property
    def left_out_of_means(self) -> tuple[str, ...]:
        """Tasks that means over tasks and decisions leave out: those with too few test labels."""
        few = self.too_few_labels
        return few if len(few) < len(self.tasks) else ()

    @property
    def verdict_words(self) -> dict[str, str]:
        """The verdict on each task under the plan, or why it has none."""
        return {
            **{name: verdict.verdict for name, verdict in self.verdicts.items()},
            **dict.fromkeys(self.too_few_labels, "too few labels"),
            **dict.fromkeys(self.same_as_separate, "same as separate"),
        }

    @property
    def not_learned(self) -> tuple[str, ...]:
        """Tasks that no network predicts better than a constant, by more than the tolerance."""
        losses = torch.stack(
            [candidate.test.scores.double().mean(dim=0) for candidate in self.candidates.values()]
        )
        return tuple(
            task.name
            for task, of_task in zip(self.tasks, losses.T, strict=True)
            if task.constant_loss is not None
            and bool(of_task.isfinite().any())
            and float(of_task[of_task.isfinite()].min())
            > task.constant_loss - self.test.tolerance * abs(task.constant_loss)
        )

    @property
    def nearly_solved(self) -> tuple[str, ...]:
        """Tasks whose separate networks have almost no loss, compared with a constant's."""
        losses = self.candidates["separate"].test.scores.double().mean(dim=0).tolist()
        return tuple(
            task.name
            for task, loss in zip(self.tasks, losses, strict=True)
            if task.constant_loss is not None and 0 <= loss < NEAR_ZERO * task.constant_loss
        )

    @cached_property
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
            left_out_of_means=self.left_out_of_means,
            alerts=self.alerts,
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
                    gain=summarize_gain(self.averaged(candidate.test)),
                    evaluation_gain=summarize_gain(self.averaged(candidate.evaluation)),
                    unfinished=candidate.unfinished,
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

    def as_table(self) -> markup.ResultTable:
        """One row per task, with its verdict."""
        caption = (
            f"{self.problem}: {count(self.gains.n_replicates, 'replicate')}, advice: {self.advice}"
        )
        rows: list[list[str]] = []
        colours: list[list[str]] = []
        same, words = self.same_as_separate, self.verdict_words
        for verdict in self.verdicts.values():
            score = self.gains.score_of[verdict.task]
            gain = "" if verdict.task in same else score.format(verdict.gain)
            interval = f"{score.format(verdict.low)} to {score.format(verdict.high)}"
            has_interval = gain != "" and not np.isnan(verdict.low)
            rows.append([verdict.task, words[verdict.task], gain, interval if has_interval else ""])
            sign = {"beneficial": 1.0, "harmful": -1.0}.get(verdict.verdict, 0.0)
            colours.append(["", markup.diverging(sign, 2.0) if sign else "", "", ""])
        header = ["task", "verdict", "gain of the plan", "95 % interval"]
        return markup.ResultTable(header, rows, caption, colours)


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
            metric_difference=MeanSummary(
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
    verdicts = audit.reference_verdicts.values()
    scores, metrics = _means(reference.scores), _means(reference.metrics)
    return ReferenceSummary(
        reference.name,
        len(reference.scores),
        reference.seconds,
        summarize_gain(audit.averaged(reference.gains_over(audit.candidates["separate"].test))),
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
        for (network, sharing, settings, reason), cost, gates in zip(
            plan.parts, costs or none, audit.gates or none, strict=True
        )
    )


def _are_same(one: EvaluatedPlan, other: EvaluatedPlan) -> bool:
    """Whether two candidates are the same networks: equal plans of equal scores."""
    networks, others = (
        set(zip(each.plan.grouping.networks, each.plan.sharing, strict=True))
        for each in (one, other)
    )
    return (
        networks == others
        and one.plan.width == other.plan.width
        and bool(torch.equal(one.test.scores.nan_to_num(), other.test.scores.nan_to_num()))
    )


def _means(scores: Tensor) -> list[float | None]:
    return [finite(mean) for mean in scores.double().mean(dim=0).tolist()]
