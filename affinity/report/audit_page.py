"""The page of an audit: one self-contained HTML file for a browser, an e-mail or a printer."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path

from affinity.audit import (
    SCORE,
    Alert,
    Audit,
    AuditContext,
    AuditSummary,
    Diagnosis,
    ObjectiveComparison,
    RepeatedHoldout,
)
from affinity.audit.summary import TaskSummary
from affinity.errors import InputError
from affinity.estimates import AffinityMatrix
from affinity.fewshot import FewShotSummary
from affinity.files import write_atomically
from affinity.grouping import Stability
from affinity.problems import ColumnUse
from affinity.ranking import RankingRun
from affinity.recording import Trace
from affinity.study import Study
from affinity.tasks.score import GainUnit
from affinity.transfer import TransferSummary

from .alerts import find_alerts
from .alternatives import BudgetChoice, measure_stability, served_tasks, solve_budgets
from .diagnosis_text import advice_lines, diagnosis_headline, verdict_word
from .fewshot_page import fewshot_page_of
from .figures import MOST_PAIRED, audit_figures
from .glossary import GLOSSARY, LIMITS
from .headline import Headline, audit_headline, describe_gains
from .key_numbers import KeyNumber, VerdictCount, audit_numbers, count_verdicts
from .network_rows import NetworkRow, network_rows
from .page_result import PageResult, summarize_matrices, summarize_stability
from .pictures import all_matrices, grouping_for
from .provenance import audit_provenance
from .race_words import RaceRow, race_rows, race_sentences
from .ranking_page import ranking_page_of
from .rendering import PageFigure, render
from .study_page import study_page_of
from .trace_page import trace_page_of
from .transfer_page import transfer_page_of

MOST_CARDS = 12  # networks of the plan that are shown at once; the others are folded
MOST_FOLDED = 100  # networks of the plan on the page; the others are in its JSON alone
DIGITS = 4  # significant digits of the JSON, where a page has no numbers of pairs of tasks
MOST_IN_TABLE = 200  # tasks in the table of gains, those with the largest effects
MOST_OPEN = 40  # with more tasks, the table and the picture of gains are folded


@dataclass(frozen=True, eq=False)
class AuditPage:
    """What the page of an audit shows, part by part; `result` is the JSON inside."""

    audit: Audit
    result: PageResult
    headline: Headline
    verdicts: list[VerdictCount]
    numbers: list[KeyNumber]
    networks: list[NetworkRow]
    alerts: list[Alert]
    figures: dict[str, PageFigure]
    race: list[RaceRow]
    race_notes: list[str]
    choices: list[BudgetChoice]
    stability: Stability | None
    diagnosis: Diagnosis | None
    provenance: list[tuple[str, str]]
    glossary: tuple[tuple[str, str], ...] = GLOSSARY
    limits: tuple[str, ...] = LIMITS
    most_cards: int = MOST_CARDS
    most_folded: int = MOST_FOLDED

    @classmethod
    def from_audit(
        cls,
        audit: Audit,
        matrices: Sequence[AffinityMatrix] = (),
        trace: Trace | None = None,
        diagnosis: Diagnosis | None = None,
        holdout: RepeatedHoldout | None = None,
        objectives: ObjectiveComparison | None = None,
    ) -> "AuditPage":
        """All parts of the page. Solving for other groupings takes most of the time."""
        grouping = audit.plan.grouping
        estimates = all_matrices(audit, matrices, trace)
        matrix = audit.matrix
        if matrix is None or grouping_for(audit, matrix.tasks) is None:
            stability, choices = None, []
        else:
            stability, choices = (
                measure_stability(matrix, grouping),
                solve_budgets(matrix, grouping),
            )
        has_all = len(audit.tasks) <= MOST_PAIRED
        figures = audit_figures(audit, estimates, trace, stability, diagnosis)
        alerts, summary = find_alerts(audit, trace, holdout), audit.summary()
        context = summary.context if has_all else _without_lists(summary.context)
        shares_rows = any(limit.code == "shared-rows" for limit in audit.context.limits)
        return cls(
            audit=audit,
            result=PageResult(
                **{
                    field.name: getattr(summary, field.name)
                    for field in fields(AuditSummary)
                    if field.name not in ("alerts", "context")
                },
                context=context,
                alerts=tuple(alerts),
                affinity=summarize_matrices(estimates, grouping) if has_all else (),
                frontier=tuple(choices),
                diagnosis=None if diagnosis is None else diagnosis.summary(),
                holdout=None if holdout is None else holdout.summary(),
                objectives=None if objectives is None else objectives.summary(),
                stability=None if stability is None else summarize_stability(stability),
            ),
            headline=audit_headline(audit),
            verdicts=count_verdicts(audit),
            numbers=list(audit_numbers(audit, holdout)),
            networks=network_rows(audit),
            alerts=alerts,
            figures=figures,
            race=race_rows(audit.context.race),
            race_notes=race_sentences(
                audit.context.race_finding, audit.context.detectable, audit.gains.overall_unit
            ),
            choices=choices,
            stability=stability,
            diagnosis=diagnosis,
            provenance=audit_provenance(audit),
            limits=LIMITS[:-1] if shares_rows else LIMITS,
        )

    def to_html(self) -> str:
        """The page as text."""
        return render(
            "audit.html.j2",
            title=f"{self.audit.problem}: task affinity audit",
            result=self.result,
            digits=None if self.has_all else DIGITS,
            page=self,
            served_tasks=served_tasks,
            verdict_word=verdict_word,
        )

    @property
    def has_all(self) -> bool:
        """Whether the page's JSON has everything: pairs of tasks, columns, labels and the race."""
        return len(self.audit.tasks) <= MOST_PAIRED

    @property
    def columns(self) -> tuple[ColumnUse, ...]:
        """What was done with the first columns of the table."""
        source = self.audit.context.source
        return () if source is None else source.columns[:MOST_IN_TABLE]

    @cached_property
    def network_numbers(self) -> dict[str, int]:
        """The number of the network that serves each task, from 1."""
        return {
            task: number
            for number, network in enumerate(self.audit.plan.grouping.networks, start=1)
            for task in network.served
        }

    @property
    def unit(self) -> GainUnit:
        """The unit of mean gains over tasks."""
        return self.audit.gains.overall_unit

    @property
    def has_losses(self) -> bool:
        """Whether tasks have a loss and a metric, not just one score."""
        return any(task.loss != SCORE for task in self.audit.tasks)

    @property
    def gain_words(self) -> str:
        """What the gains of single tasks are."""
        return describe_gains(self.audit)

    @property
    def is_long(self) -> bool:
        """Whether tables and pictures of all tasks are folded."""
        return len(self.audit.tasks) > MOST_OPEN

    @property
    def task_rows(self) -> list[TaskSummary]:
        """The rows of the table of gains."""
        rows = list(self.result.tasks)
        if len(rows) <= MOST_IN_TABLE:
            return rows

        def effect(row: TaskSummary) -> tuple[bool, float]:
            gain = 0.0 if row.gain is None or math.isnan(row.gain) else row.gain
            return row.verdict != "harmful", -abs(gain)

        return sorted(rows, key=effect)[:MOST_IN_TABLE]

    @property
    def heatmaps(self) -> list[PageFigure]:
        """One heatmap per estimator."""
        return [figure for name, figure in self.figures.items() if name.startswith("heatmap")]

    @property
    def gates(self) -> list[PageFigure]:
        """One figure per mixture of experts."""
        return [figure for name, figure in self.figures.items() if name.startswith("gates")]

    @property
    def diagnosis_headline(self) -> str:
        """What the diagnosis shows."""
        return "" if self.diagnosis is None else diagnosis_headline(self.diagnosis)

    @property
    def advice(self) -> list[str]:
        """What the diagnosis advises."""
        return [] if self.diagnosis is None else advice_lines(self.diagnosis)

    @property
    def contents(self) -> list[tuple[str, str]]:
        """Anchor and name of each section that the page has."""
        sections = (
            ("verdict", "Verdict", True),
            ("alerts", "Warnings", self.alerts),
            ("affinity", "Affinity", self.heatmaps),
            ("conflict", "Conflict", {"over-time", "layers"} & set(self.figures)),
            ("graph-of-tasks", "Graph", "graph" in self.figures),
            ("race", "Race", self.race),
            ("groupings", "Groupings", self.choices),
            ("gains", "Gains", True),
            ("test-splits", "Test splits", self.result.holdout),
            ("causes", "Causes", self.diagnosis),
            ("objectives", "Objectives", self.result.objectives),
            ("gates", "Gates", self.gates),
            ("provenance", "Provenance", True),
        )
        return [(anchor, name) for anchor, name, is_shown in sections if is_shown]


def _without_lists(context: AuditContext) -> AuditContext:
    """How an audit was made, without what is long where there are many tasks."""
    source = context.source and replace(context.source, columns=())
    return replace(context, source=source, labels=(), race=())


def write_report(
    result: Audit | Study | Trace | RankingRun | TransferSummary | FewShotSummary,
    path: str | Path,
    *,
    matrices: Sequence[AffinityMatrix] = (),
    trace: Trace | None = None,
    diagnosis: Diagnosis | None = None,
    holdout: RepeatedHoldout | None = None,
    objectives: ObjectiveComparison | None = None,
) -> Path:
    """Write the page of a result to `path`, and return the path.

    The page of a study that is not finished reloads itself. The other arguments are for audits.

    Args:
        result: An audit, a study, a recorded or ranking run, or the summary of a transfer or of
            few-shot results.
        matrices: Estimates of other estimators, to switch between.
        trace: The recorded run, to show changes over time and between layers.
        diagnosis: Why sharing does harm, for the same problem.
        holdout: The same procedure on other test splits.
        objectives: The same tasks with each way to combine their losses.

    Raises:
        InputError: If the file cannot be written, or such a result has no page.

    Example:
        >>> import tempfile
        >>> import torch
        >>> gramians = torch.tensor([[[4.0, -2.0], [-2.0, 9.0]]] * 3)
        >>> trace = Trace(("depth", "edges"), torch.arange(3), torch.ones(3, 2), gramians)
        >>> write_report(trace, Path(tempfile.mkdtemp()) / "report.html").name
        'report.html'
    """
    if isinstance(result, Study):
        return write_atomically(path, study_page_of(result))
    if isinstance(result, RankingRun):
        return write_atomically(path, ranking_page_of(result))
    if isinstance(result, Trace):
        return write_atomically(path, trace_page_of(result))
    if isinstance(result, TransferSummary):
        return write_atomically(path, transfer_page_of(result))
    if isinstance(result, FewShotSummary):
        return write_atomically(path, fewshot_page_of(result))
    if not isinstance(result, Audit):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InputError(
            "Expected an audit, a study, a recorded or ranking run, or the summary of a transfer "
            f"or of few-shot results, but got {type(result).__name__}. The plan of a race needs an "
            "audit; a diagnosis is shown on the page of one: write_report(audit, path, "
            "diagnosis=...).",
            "wrong-type",
        )
    page = AuditPage.from_audit(result, matrices, trace, diagnosis, holdout, objectives)
    return write_atomically(path, page.to_html())
