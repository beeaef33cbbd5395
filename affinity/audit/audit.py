"""An audit: a plan retrained beside separate networks and all-in-one, and what that shows."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

from affinity import markup
from affinity.errors import InputError
from affinity.estimates import AffinityMatrix
from affinity.files import write_atomically
from affinity.recommendation import Plan
from affinity.recording import Trace
from affinity.tasks import Task
from affinity.training import Trained
from affinity.verdicts import Gains, NegativeTransferTest, Verdict

from .baselines import RANDOM

if TYPE_CHECKING:
    import affinity.report

SCHEMA_VERSION = 1


@dataclass(frozen=True, eq=False)
class Arrangement:
    """One way to train all tasks, measured over the replicates.

    Args:
        plan: The networks; of an arrangement that is drawn anew on every replicate, those of the
            first one.
        test: Test losses beside those of separate networks.
        evaluation: Losses on evaluation rows beside those of separate networks; decisions see only
            these. (Validation losses would flatter separate networks, each of which stopped where
            its one task did best on them.)
        metrics: Test metrics beside those of separate networks.
        parameters: Of all its networks together.
        seconds: It took to train them, a replicate.
        multiply_adds: To predict one row with all its networks; None if not counted.
    """

    plan: Plan
    test: Gains
    evaluation: Gains
    metrics: Gains
    parameters: int
    seconds: float
    multiply_adds: int | None = None

    def joined(self, more: "Arrangement") -> "Arrangement":
        """These replicates and more."""
        counts = [each.test.n_replicates for each in (self, more)]
        return replace(
            self,
            test=self.test.joined(more.test),
            evaluation=self.evaluation.joined(more.evaluation),
            metrics=self.metrics.joined(more.metrics),
            seconds=float(np.average([self.seconds, more.seconds], weights=counts)),
        )


@dataclass(frozen=True)
class Agreement:
    """How well estimated affinities foretold measured gains, over tasks that share.

    Args:
        spearman: Rank correlation of the mean affinity onto a task from its partners with the
            gain it had with them; NaN with fewer than three tasks.
        n_tasks: Task and partners in each arrangement, counted once.
    """

    spearman: float
    n_tasks: int


@dataclass(frozen=True, eq=False)
class Audit:
    """What training as planned was worth, beside separate networks and all-in-one.

    Args:
        problem: The problem's name.
        tasks: The tasks.
        plan: The plan that was audited.
        arrangements: By name: "plan", "separate", "all-in-one" and other baselines.
        matrix: The affinities that the plan was made from, where known.
        test: How verdicts are reached.
        context: Settings, seeds, versions and notes, for the report.
        trained: The networks of every arrangement, where they were kept: in the order of its
            plan, an entry a replicate.
    """

    problem: str
    tasks: tuple[Task, ...]
    plan: Plan
    arrangements: Mapping[str, Arrangement]
    matrix: AffinityMatrix | None = None
    test: NegativeTransferTest = field(default_factory=NegativeTransferTest)
    context: Mapping[str, Any] = field(default_factory=dict[str, Any])
    trained: Mapping[str, tuple[tuple[Trained, ...], ...]] = field(
        default_factory=dict[str, tuple[tuple[Trained, ...], ...]]
    )

    @property
    def gains(self) -> Gains:
        """Test losses under the plan beside those of separate networks."""
        return self.arrangements["plan"].test

    @property
    def verdicts(self) -> dict[str, Verdict]:
        """A verdict a task: the plan against a separate network."""
        return {verdict.task: verdict for verdict in self.test(self.gains)}

    def verdicts_of(self, arrangement: str) -> dict[str, Verdict]:
        """A verdict a task: any arrangement against a separate network."""
        if arrangement not in self.arrangements:
            raise InputError(
                f"Expected one of the arrangements {list(self.arrangements)}, but got "
                f"{arrangement!r}."
            )
        return {verdict.task: verdict for verdict in self.test(self.arrangements[arrangement].test)}

    @property
    def overall(self) -> Verdict:
        """The verdict on the mean gain over the tasks: the plan against separate networks."""
        return self.test.overall(self.gains)

    def overall_of(self, arrangement: str) -> Verdict:
        """The same for any arrangement."""
        return self.test.overall(self.arrangements[arrangement].test)

    @property
    def advice(self) -> str:
        """The arrangement to use, chosen on evaluation rows; test rows have no say.

        The one with the fewest networks, and of these the fewest parameters, among those whose
        mean gain comes within the test's tolerance of the best. A random grouping is no advice.
        """
        gains = {
            name: gain
            for name, arrangement in self.arrangements.items()
            if name != RANDOM and np.isfinite(gain := arrangement.evaluation.overall().mean())
        }
        enough = max(gains.values()) - self.test.tolerance

        def size(name: str) -> tuple[int, int]:
            arrangement = self.arrangements[name]
            return len(arrangement.plan.grouping.networks), arrangement.parameters

        return min((name for name, gain in gains.items() if gain >= enough), key=size)

    @property
    def agreement(self) -> Agreement | None:
        """How well the affinities foretold the gains of the plan and of all-in-one."""
        if self.matrix is None:
            return None
        pairs: dict[tuple[str, frozenset[str]], tuple[float, float]] = {}
        for name in ("plan", "all-in-one"):
            arrangement = self.arrangements[name]
            gains = arrangement.test.relative()
            for task in gains:
                network = arrangement.plan.grouping.network_of(task)
                partners = network.trained - {task}
                onto = [self.matrix.between(partner, task) for partner in partners]
                if onto and np.isfinite(np.mean(onto)) and np.isfinite(gains[task]):
                    pairs[task, network.trained] = (float(np.mean(onto)), gains[task])
        estimated = [estimate for estimate, _ in pairs.values()]
        measured = [gain for _, gain in pairs.values()]
        if len(pairs) < 3 or np.ptp(estimated) == 0 or np.ptp(measured) == 0:
            return Agreement(spearman=float("nan"), n_tasks=len(pairs))
        correlation = float(stats.spearmanr(estimated, measured).statistic)  # pyright: ignore[reportAttributeAccessIssue]
        return Agreement(spearman=correlation, n_tasks=len(pairs))

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values, ready for JSON; what is undefined is None."""
        plan = self.arrangements["plan"]
        metric_rows = plan.metrics.frame().set_index("task")
        all_in_one = self.verdicts_of("all-in-one")
        return _plain(
            {
                "schema_version": SCHEMA_VERSION,
                "problem": self.problem,
                "n_replicates": self.gains.n_replicates,
                "advice": self.advice,
                "overall": _facts(self.overall),
                "tasks": [
                    {
                        "name": task.name,
                        **_facts(verdict),
                        "all_in_one": {
                            "verdict": all_in_one[task.name].verdict,
                            "gain": all_in_one[task.name].gain,
                            "low": all_in_one[task.name].low,
                            "high": all_in_one[task.name].high,
                        },
                        "loss": {
                            name: arrangement.test.scores.double().mean(dim=0)[at].item()
                            for name, arrangement in self.arrangements.items()
                        },
                        "metric": {
                            "name": metric_name(task),
                            **{
                                name: arrangement.metrics.scores.double().mean(dim=0)[at].item()
                                for name, arrangement in self.arrangements.items()
                            },
                            "difference": metric_rows.loc[task.name, "difference"],
                            "low": metric_rows.loc[task.name, "difference_low"],
                            "high": metric_rows.loc[task.name, "difference_high"],
                        },
                    }
                    for at, (task, verdict) in enumerate(
                        zip(self.tasks, self.verdicts.values(), strict=True)
                    )
                ],
                "networks": [
                    {
                        "serves": sorted(network.served),
                        "trains": sorted(network.trained),
                        "sharing": sharing,
                        "reason": reason,
                    }
                    for network, sharing, reason in zip(
                        self.plan.grouping.networks,
                        self.plan.sharing,
                        self.plan.reasons,
                        strict=True,
                    )
                ],
                "grouping": {
                    "score": self.plan.grouping.score,
                    "bound": self.plan.grouping.bound,
                    "is_optimal": self.plan.grouping.is_optimal,
                    "solver": self.plan.grouping.solver,
                },
                "arrangements": {
                    name: {
                        "networks": len(arrangement.plan.grouping.networks),
                        "width": arrangement.plan.width or self.context.get("width"),
                        "parameters": arrangement.parameters,
                        "multiply_adds": arrangement.multiply_adds,
                        "seconds": arrangement.seconds,
                        "verdict": self.overall_of(name).verdict,
                        "gain": _summary(arrangement.test),
                        "evaluation_gain": _summary(arrangement.evaluation),
                    }
                    for name, arrangement in self.arrangements.items()
                },
                "agreement": (
                    None
                    if self.agreement is None
                    else {
                        "spearman": self.agreement.spearman,
                        "n_tasks": self.agreement.n_tasks,
                    }
                ),
                "context": dict(self.context),
            }
        )

    def to_json(self, path: str | Path | None = None) -> str:
        """`to_dict` as JSON; also written to `path`, if one is given."""
        import json

        text = json.dumps(self.to_dict(), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        if path is not None:
            write_atomically(path, text)
        return text

    def heatmap(self) -> "affinity.report.Heatmap":
        """The affinities as a picture: `.plot(ax=...)`, `.frame()`, `.save("heatmap.png")`.

        Raises:
            InputError: If the audit knows no affinities.
        """
        from affinity.report import Heatmap

        matrix, grouping = self.matrix, self.plan.grouping
        if matrix is None:
            raise InputError(
                "Expected an audit that knows its affinities, but this one was made without a "
                "matrix: pass `matrix=` to `retrain`."
            )
        return Heatmap(matrix, grouping if grouping.tasks == frozenset(matrix.tasks) else None)

    def gain_dots(self) -> "affinity.report.GainDots":
        """The measured gains as a picture: `.plot(ax=...)`, `.frame()`, `.save("gains.png")`."""
        from affinity.report import GainDots

        return GainDots.of(self)

    def _repr_html_(self) -> str:
        """For notebooks: a row a task, with its verdict."""
        caption = f"{self.problem}: {self.gains.n_replicates} replicates, advice: {self.advice}"
        rows: list[list[str]] = []
        colours: list[list[str]] = []
        for verdict in self.verdicts.values():
            rows.append(
                [
                    verdict.task,
                    verdict.verdict,
                    f"{verdict.gain:+.1%}",
                    "" if np.isnan(verdict.low) else f"{verdict.low:+.1%} to {verdict.high:+.1%}",
                ]
            )
            sign = {"beneficial": 1.0, "harmful": -1.0}.get(verdict.verdict, 0.0)
            colours.append(["", markup.diverging(sign, 2.0) if sign else "", "", ""])
        header = ["task", "verdict", "gain of the plan", "95 % interval"]
        return markup.table(header, rows, caption, colours)

    def networks_of(self, arrangement: str, replicate: int = 0) -> tuple[Trained, ...]:
        """The kept networks of an arrangement on a replicate, in the order of its plan.

        Raises:
            InputError: If they were not kept.
        """
        if not self.trained:
            raise InputError("Expected kept networks: measure with retrain(..., keep=True).")
        return tuple(network[replicate] for network in self.trained[arrangement])

    def save(self, path: str | Path) -> Path:
        """Write every measurement to a safetensors file, for `Audit.load`."""
        from .stored import save_audit

        return save_audit(self, path)

    @staticmethod
    def load(path: str | Path) -> "Audit":
        """Read what `save` wrote; networks that were kept are not in it."""
        from .stored import load_audit

        return load_audit(path)

    def report(
        self,
        path: str | Path,
        *,
        trace: Trace | None = None,
        diagnosis: Mapping[str, Any] | None = None,
    ) -> Path:
        """Write one self-contained HTML page, and return where it is.

        Args:
            path: The HTML file.
            trace: The recorded run, for what changes over time and between estimators.
            diagnosis: Why sharing harms, as `Diagnosis.to_dict` gives it.
        """
        from affinity.report import write_report

        return write_report(self, path, trace=trace, diagnosis=diagnosis)


def metric_name(task: Task) -> str:
    """What the task's metric is called in a report."""
    names = {"RocAuc": "ROC AUC", "Accuracy": "accuracy", "RSquared": "R²"}
    kind = type(task.metric).__name__
    return names.get(kind, getattr(task.metric, "__name__", kind))


def _facts(verdict: Verdict) -> dict[str, Any]:
    return {name: value for name, value in asdict(verdict).items() if name != "task"}


def _summary(gains: Gains) -> dict[str, float]:
    found = gains.estimate_overall()
    low, high = found.interval()
    return {"mean": float(found.mean[0]), "low": float(low[0]), "high": float(high[0])}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    if isinstance(value, np.integer):
        return int(value)
    return value
