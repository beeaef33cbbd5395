"""Repeated hold-out: the whole audit on several test splits, each in its own run."""

from dataclasses import replace

from affinity.audit import RepeatedHoldout
from affinity.errors import InputError
from affinity.storage import save

from .options import AuditOptions, RunSettings
from .run import Run, resume_run, start_run
from .run_directory import HOLDOUT, HOLDOUT_JSON, SPLITS
from .stages.audit import run_stages
from .stages.report import report_stage

LEAST_KNOWN = 0.5  # share of the rows that the earliest window of time has
SEED_STEP = 1_000  # distance between the seeds of two splits, so that all seeds differ


def check_test_splits(settings: RunSettings, n_splits: int | None) -> None:
    """Raise an error if the audit cannot be repeated: a column says which rows are test rows."""
    if n_splits is not None and settings.split_column is not None:
        raise InputError(
            f"--test-splits {n_splits} draws new test rows, but --split-column "
            f"{settings.split_column!r} already says which rows they are. Leave one of the two "
            f"out; to split at random: --exclude {settings.split_column!r}.",
            "fixed-test-split",
        )


def repeat_audit(first: Run, options: AuditOptions, n_splits: int) -> RepeatedHoldout:
    """The first audit and those of the other test splits; they are on the first run's page, too.

    Test rows are drawn at random, or are earlier time windows if there is a time column.
    """
    settings = first.settings
    shares: list[float] | list[None] = [None] * n_splits
    if settings.time_column is not None:
        shares = _windows(n_splits, settings.test_share)
    audits = [first.audit]
    for split in range(1, n_splits):
        first.console.rule(f"test split {split + 1} of {n_splits}", style="dim")
        seed = settings.seed + SEED_STEP * split
        other = replace(settings, seed=seed, known_share=shares[split])
        folder = first.directory.file(SPLITS) / str(split + 1)
        with start_run(other, folder, first.console) as run:
            run_stages(run, replace(options, diagnose=False, save_models=False))
            audits.append(run.audit)
    holdout = RepeatedHoldout(tuple(audits), settings.test_share)
    with resume_run(first.directory.path, first.console) as run:
        save(holdout, run.directory.file(HOLDOUT))
        holdout.to_json(run.directory.file(HOLDOUT_JSON))
        run.audit, run.holdout = first.audit, holdout
        report_stage(run)
    return holdout


def _windows(count: int, test_share: float) -> list[float]:
    """The share of the rows, ordered by time, that each of `count` splits may use.

    Of what is known the latest rows are the test rows, a share of `test_share`. Windows follow each
    other without a gap where this leaves half of the rows to the earliest draw; else they overlap.

    References:
        Tashman (2000), Out-of-sample Tests of Forecasting Accuracy: rolling origins.
    """
    apart = [(1 - test_share) ** draw for draw in range(count)]
    if apart[-1] >= LEAST_KNOWN:
        return apart
    return [1 - (1 - LEAST_KNOWN) * draw / (count - 1) for draw in range(count)]
