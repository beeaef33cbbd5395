"""The page of a study: one self-contained HTML file to leave open while trainings run."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from affinity.errors import InputError
from affinity.estimates import AffinityMatrix
from affinity.files import write_atomically
from affinity.study import PastAnswer, Study, StudySummary, summarize_study
from affinity.words import count, duration, in_percent

from .candidate_plot import CandidatePlot
from .heatmap import Heatmap
from .key_numbers import KeyNumber
from .page_result import MatrixSummary, summarize_matrices
from .probability_plot import SHOWN, ProbabilityPlot
from .rendering import PageFigure, render
from .study_words import study_headline, study_sentences

RELOAD = 30  # seconds after which an open page of an unfinished study reloads itself
_SHORTEST = 30.0  # seconds between two writes of a page
MOST_JOBS = 12
MOST_GROUPS = 40


@dataclass(frozen=True)
class StudyResult(StudySummary):
    """The JSON inside a study's page: its summary, history and priors."""

    affinity: tuple[MatrixSummary, ...] = ()
    history: tuple[PastAnswer, ...] = ()


def study_page_of(study: Study) -> str:
    """The page as text."""
    summary, state = summarize_study(study), study.state()
    plan, prior = summary.plan, state.prior
    grouping = study.answer().plan.grouping if plan is not None else None
    history = study.history()
    measured = [answer for answer in history if answer.probability("plan") is not None]
    result = StudyResult(
        **vars(summary),
        affinity=summarize_matrices(prior, grouping or state.all_in_one),
        history=history,
    )
    figures = [_heatmap(matrix, number, len(state.names)) for number, matrix in enumerate(prior)]
    has_gains = plan is not None and plan.gain is not None
    sections = [
        ("candidates", "Candidates", has_gains),
        ("next", "Next", summary.next),
        ("groups", "Measured gains", summary.groups),
        ("unknown", "Open questions", summary.unknown),
        ("affinity", "Affinity", figures),
        ("failures", "Failures", summary.status.reasons),
        ("made", "How it was made", True),
    ]
    return render(
        "study.html.j2",
        title=f"{study.folder.resolve().name}: study",
        result=result,
        name=study.folder.resolve().name,
        study=summary,
        reload=None if summary.is_finished else RELOAD,
        headline=study_headline(summary),
        sentences=list(study_sentences(summary)),
        numbers=list(_numbers(summary)),
        contents=[(anchor, name) for anchor, name, is_shown in sections if is_shown],
        candidates=_candidates(summary) if has_gains else None,
        probabilities=_probabilities(measured) if has_gains and len(measured) > 1 else None,
        figures=figures,
        most_jobs=MOST_JOBS,
        most_groups=MOST_GROUPS,
        made_rows=_made(study, summary),
    )


class LivePage:
    """Writes a study's page again while trainings run, at most every half minute.

    It is written in a thread, at the start, after updates, and at the end.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> study = Study(folder, {"a": "maximize", "b": "maximize"}, budget=1, trainings=3)
        >>> with LivePage(study, folder / "report.html") as page:
        ...     status = study.run(
        ...         lambda tasks, seed: dict.fromkeys(tasks, 0.1 * len(tasks)),
        ...         observe=lambda event: page.update(),
        ...     )
        >>> (folder / "report.html").exists()
        True
    """

    def __init__(self, study: Study, path: str | Path) -> None:
        self.study = study
        self.path = Path(path)
        self._is_changed = threading.Event()
        self._is_ended = threading.Event()
        self._thread = threading.Thread(target=self._write_on_changes, daemon=True)

    def __enter__(self) -> "LivePage":
        """Write the page, and start the thread."""
        self._write()
        self._thread.start()
        return self

    def update(self) -> None:
        """Have the page written soon."""
        self._is_changed.set()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the thread, and write the page a last time."""
        self._is_ended.set()
        self._is_changed.set()
        self._thread.join()
        with suppress(InputError) if kind is not None else nullcontext():
            self._write()

    def _write_on_changes(self) -> None:
        while not self._is_ended.wait(_SHORTEST):
            self._is_changed.wait()
            self._is_changed.clear()
            if self._is_ended.is_set():
                return
            with suppress(InputError):  # the last write reports it
                self._write()

    def _write(self) -> None:
        write_atomically(self.path, study_page_of(self.study))


def _numbers(summary: StudySummary) -> Iterator[KeyNumber]:
    status = summary.status
    yield KeyNumber("Done", str(status.done), f"of at most {count(status.trainings, 'training')}")
    yield KeyNumber("Running", str(status.running), f"{status.waiting} waiting")
    note = f"{status.stale} interrupted, to be run again" if status.stale else "missing data"
    yield KeyNumber("Failed", str(status.failed), note, "harms" if status.failed else "")
    if status.past:
        yield KeyNumber("Earlier runs", str(status.past), "from before the study")
    if status.judging:
        yield KeyNumber("For audits", str(status.judging), f"{status.judged} ended; counted apart")
    if status.last_seconds is not None:
        note = f"{duration(status.seconds)} of training so far"
        yield KeyNumber("Last training", duration(status.last_seconds), note)
    if summary.seconds_left is not None and not summary.is_finished:
        left = duration(summary.seconds_left)
        yield KeyNumber("Time left, at most", left, "one training after another")


def _candidates(summary: StudySummary) -> PageFigure:
    return PageFigure(
        "candidates",
        "Candidates",
        f"Dot plot of the expected gain of {count(len(summary.candidates), 'grouping')}, with "
        "intervals. The same numbers are in the table below.",
        CandidatePlot(summary),
    )


def _probabilities(history: Sequence[PastAnswer]) -> PageFigure:
    last = history[-1]
    ends = ", ".join(
        f"{label} {in_percent(probability)}"
        for name, label in SHOWN.items()
        if (probability := last.probability(name)) is not None
    )
    return PageFigure(
        "probabilities",
        "Probabilities over time",
        f"Lines of the candidates' probabilities over the trainings. At the end: {ends}.",
        ProbabilityPlot(history),
        "The probability of each candidate after earlier trainings. Dots: another grouping became "
        "the best so far. Grey line: 95 %, from which a study may stop.",
    )


def _heatmap(matrix: AffinityMatrix, number: int, n_tasks: int) -> PageFigure:
    return PageFigure(
        f"heatmap-{number}",
        matrix.estimator or "Prior",
        f"Heatmap of the prior's affinities between {count(n_tasks, 'task')}.",
        Heatmap(matrix),
        f"{matrix.estimator or 'A prior'}. Rows are sources, columns are targets. Blue: helps. "
        "Orange: harms.",
        matrix=number,
    )


def _made(study: Study, summary: StudySummary) -> list[tuple[str, str]]:
    state = study.state()
    return [
        ("Folder", str(study.folder)),
        ("Tasks", ", ".join(f"{task} ({way})" for task, way in summary.tasks.items())),
        ("Budget", count(summary.budget, "network")),
        ("Tolerance", f"{state.tolerance:g} of mean gain"),
        ("Priors", ", ".join(m.estimator or "unnamed" for m in state.prior) or "none"),
        ("Written", time.strftime("%Y-%m-%d %H:%M:%S %Z")),
    ]
