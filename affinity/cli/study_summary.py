"""A study in the terminal: each training as it ends, and the results so far."""

import shlex
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from affinity.recommendation import Plan
from affinity.report.numbers import gain_range, gain_text
from affinity.report.study_words import study_headline, study_sentences
from affinity.study import Study, StudySummary, summarize_study
from affinity.training import Job, Result
from affinity.words import count, duration, in_percent

from .console import plain_table, print_json, print_note

MOST_JOBS = 5


@dataclass(frozen=True)
class RunLog:
    """Prints each training, its result, and the remaining time."""

    console: Console
    study: Study
    workers: int

    def print_start(self) -> None:
        """Print how many trainings may follow."""
        status = self.study.status()
        line = f"Up to {count(status.left, 'training')}"
        if status.done or status.failed:
            line += f" of {status.trainings}"
        line += f", {self.workers} at a time" if self.workers > 1 else ", one at a time"
        if status.last_seconds is not None:
            line += f"; {self._time_left()}"
        self.console.print(f"{line}. Ctrl-C keeps finished trainings.", soft_wrap=True)

    def print_audit_start(self, plan: Plan, replicates: int) -> None:
        """Print the plan that an audit evaluates."""
        networks = " | ".join(
            ", ".join(sorted(network.served)) for network in plan.grouping.networks
        )
        line = f"Judging {networks} on {count(replicates, 'new seed')}"
        seconds = self.study.status().last_seconds
        if seconds is not None:
            line += f"; one training took {duration(seconds)}"
        self.console.print(f"{escape(line)}. Ctrl-C keeps finished trainings.", soft_wrap=True)

    def __call__(self, event: Job | Result) -> None:
        """Print one line per result."""
        if isinstance(event, Job):
            return
        job, status = event.job, self.study.status()
        if job.purpose == "judge":
            done = f"{status.judged} of {status.judging}"
        else:
            done = f"{status.done + status.failed} of {status.trainings}"
        line = f"{done}: {shlex.join(job.names)}, seed {job.seed}: "
        if event.is_failed:
            reason = escape(event.error or "")
            self.console.print(f"{escape(line)}[red]failed[/red]. {reason}", soft_wrap=True)
            return
        scores = event.validation or event.test or {}
        shown = ", ".join(f"{task} {score:.4g}" for task, score in scores.items())
        self.console.print(escape(line + shown), soft_wrap=True)
        if job.purpose == "decide" and status.done == 1 and event.seconds is not None:
            pace = f"That took {duration(event.seconds)}"
            self.console.print(f"{pace}; {self._time_left()}." if status.left else f"{pace}.")

    def _time_left(self) -> str:
        status = self.study.status()
        seconds = status.left * (status.last_seconds or 0.0) / self.workers
        return f"up to {duration(seconds)} left at that pace"


def print_status(console: Console, study: Study, as_json: bool = False) -> None:
    """Print the progress of a study and its best grouping; also as JSON to standard output."""
    summary = summarize_study(study)
    console.print(escape(str(summary.status)), soft_wrap=True)
    for sentence in study_sentences(summary):
        console.print(escape(sentence), soft_wrap=True)
    if summary.candidates:
        console.print(f"[bold]{escape(study_headline(summary))}[/bold]", soft_wrap=True)
        console.print(_candidates(summary))
    for sentence in summary.unknown:
        print_note(console, sentence)
    for job in summary.next[:MOST_JOBS]:
        console.print(
            escape(f"{job.state}: {job.id}: {shlex.join(job.tasks)}, seed {job.seed} ({job.why})"),
            soft_wrap=True,
        )
    if len(summary.next) > MOST_JOBS:
        console.print(f"... and {count(len(summary.next) - MOST_JOBS, 'more training')}")
    if as_json:
        print_json(summary)


def _candidates(summary: StudySummary) -> Table:
    headings = ("grouping", "expected gain>", "95 % interval>", "may be best>", "networks")
    table = plain_table(*headings)
    for candidate in summary.candidates:
        table.add_row(
            escape(", ".join(candidate.names)),
            gain_text(candidate.gain, summary.unit),
            gain_range(candidate.low, candidate.high, summary.unit),
            in_percent(candidate.probability) if candidate.probability is not None else "",
            escape(" | ".join(", ".join(network) for network in candidate.networks)),
        )
    return table
