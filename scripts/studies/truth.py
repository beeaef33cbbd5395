"""Ground truth: what every set of tasks loses, over replicates that each draw their rows anew.

A replicate is a fresh draw of training, validation (early stopping) and selection rows and a fresh
seed; every set of tasks is trained on it. Rows of a given test split stay test rows. Decisions are
made and judged on evaluation losses, whose rows are drawn anew too.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from pathlib import Path
from tempfile import mkdtemp

import pandas as pd
import torch
from foretold import foretell
from intervals import ROOT
from kept_rows import read, write

from affinity.cli.options import RecordSettings
from affinity.cli.source import BUILT_IN, read_problem
from affinity.errors import InputError
from affinity.estimates import ESTIMATORS, NEED_OPTIMIZER_STEPS, LabelCorrelation
from affinity.files import write_atomically
from affinity.problems import (
    Branching,
    Draw,
    Problem,
    RandomRows,
    Resampling,
    TimeBlocks,
    TrainingResults,
    record,
    train_networks,
)
from affinity.recording import Trace
from affinity.tasks import Examples

TABLES = ROOT.parent / "shared/data/tables"
LARGEST = 8
SCORES = ("evaluation_loss", "test_loss", "validation_loss", "test_metric")


@dataclass(frozen=True)
class FewRows:
    """So many rows of another draw, in the same shares: a small sample of a large table.

    Args:
        resampling: Draws from all development rows.
        rows: How many rows are left in all.
    """

    resampling: Resampling
    rows: int

    def __call__(self, development: Examples, seed: int) -> Draw:
        """Draw with this seed."""
        draw = self.resampling(development, seed)
        share = min(1.0, self.rows / len(development))
        generator = torch.Generator().manual_seed(seed)

        def some(rows: torch.Tensor) -> torch.Tensor:
            kept = torch.randperm(len(rows), generator=generator)[: round(share * len(rows))]
            return rows[kept]

        return Draw(some(draw.training), some(draw.validation), some(draw.evaluation))


def problem_of(arguments: argparse.Namespace) -> Problem:
    """The problem that the command line names, with its resampling."""
    options = replace(
        _listed(arguments.source),
        **{
            name: value
            for name in ("width", "depth", "epochs", "batch_size", "learning_rate", "patience")
            if (value := getattr(arguments, name)) is not None
        },
    )
    chosen = tuple(arguments.targets.split(",")) if arguments.targets else options.targets
    excluded = arguments.exclude.split(",") if arguments.exclude else []
    others = [name for name in options.targets if name not in chosen]  # no features either
    options = replace(options, targets=chosen, exclude=(*excluded, *others))
    problem = read_problem(replace(options, average_weights=arguments.average_weights))
    resampling: Resampling = (
        TimeBlocks(arguments.validation_share, arguments.evaluation_share, arguments.blocks)
        if arguments.blocks
        else RandomRows(arguments.validation_share, arguments.evaluation_share)
    )
    if arguments.rows:
        resampling = FewRows(resampling, arguments.rows)
    if len(problem.tasks) > LARGEST:
        raise InputError(
            f"Expected at most {LARGEST} tasks, whose every set is trained, but got "
            f"{len(problem.tasks)}: choose some with --targets."
        )
    return replace(problem, resampling=resampling)


def _listed(source: str) -> RecordSettings:
    """The options of a source; its targets and split are those of the manifest, if it is there."""
    if source in BUILT_IN or Path(source).exists():
        return RecordSettings(source)
    manifest = json.loads((TABLES / "manifest.json").read_text()) if TABLES.exists() else {}
    if source not in manifest:
        raise InputError(
            f"Expected a table's file, one of the built-in problems {list(BUILT_IN)} or of the "
            f"tables {sorted(manifest)} in {TABLES}, but got {source!r}."
        )
    entry = manifest[source]
    return RecordSettings(
        str(_with_rare_pooled(TABLES / f"{source}.csv.gz")),
        max_rows=entry["rows"],  # all of them, however many cells they have
        targets=tuple(entry.get("targets", ())),
        split_column=entry.get("split_column"),
    )


def _with_rare_pooled(path: Path) -> Path:
    """A copy of the table in which rare categories share one name, if it has categories.

    As when the committed truth of adult was measured: today's reader gives rare categories several
    inputs.
    """
    table = pd.read_csv(path)
    columns = table.select_dtypes(exclude="number").columns
    if not len(columns):
        return path
    for name in columns:
        counts = table[name].value_counts()
        is_frequent = table[name].map(counts) >= len(table) / 100
        table[name] = table[name].where(is_frequent | table[name].isna(), "(rare)")
    copy = Path(mkdtemp()) / path.name
    table.to_csv(copy, index=False)
    return copy


def networks_of(tasks: Sequence[str]) -> list[frozenset[str]]:
    """Every set of tasks: alone, pairs, and so on."""
    return [
        frozenset(network)
        for size in range(1, len(tasks) + 1)
        for network in combinations(tasks, size)
    ]


def rows_of(measured: TrainingResults, replicate: int, spent: float) -> pd.DataFrame:
    """One row for each task of each network of the only replicate that was measured.

    Seconds are the network's share of the processor's time: that of the clock depends on what
    else the machine does.
    """
    seconds = measured.seconds[:, 0] * (spent / float(measured.seconds.sum()))
    rows: list[dict[str, object]] = []
    for number, network in enumerate(measured.networks):
        mask = "".join(str(int(task in network)) for task in measured.tasks)
        for column, task in enumerate(measured.tasks):
            if task in network:
                scores = {name: getattr(measured, name)[number, 0, column] for name in SCORES}
                rows.append(
                    {
                        "replicate": replicate,
                        "network": mask,
                        "task": task,
                        **{name: float(f"{float(score):.6g}") for name, score in scores.items()},
                        "seconds": round(float(seconds[number]), 4),
                    }
                )
    return pd.DataFrame(rows)


def same_settings(path: Path, settings: dict[str, object]) -> None:
    """Replicates of one file are trained alike."""
    settings = json.loads(json.dumps(settings))
    if path.exists() and (before := json.loads(path.read_text())) != settings:
        differ = sorted(key for key in settings if before.get(key) != settings[key])
        raise InputError(
            f"Expected the settings of the replicates in {path.parent}, but {differ} differ. Give "
            "the same options, or another --out."
        )
    write_atomically(path, json.dumps(settings, indent=1) + "\n")


def run(arguments: argparse.Namespace) -> None:
    problem = problem_of(arguments)
    problem = problem.with_settings(replace(problem.settings, schedule=arguments.schedule))
    out = Path(arguments.out) / problem.name
    training = asdict(problem.settings)
    del training["device"]  # it decides no loss
    if not training["average_weights"]:
        del training["average_weights"]  # as before there was a choice
    settings: dict[str, object] = {
        "source": problem.source.name,
        "tasks": problem.names,
        "training": training,
        "trunk": repr(problem.trunk()),
        # As before the share had a name: all rows of a draw are used.
        "resampling": repr(problem.resampling).replace(", used_share=1.0", ""),
        "development_rows": len(problem.development),
        "test_rows": len(problem.test),
    }
    same_settings(out / "settings.json", settings)
    path = out / "truth.csv.gz"
    truth = read(path)
    done = set(truth["replicate"]) if len(truth) else set[int]()
    for replicate in range(arguments.replicates):
        if replicate not in done:
            began = time.process_time()
            measured = train_networks(
                problem, networks_of(problem.names), [problem.replicate(replicate)]
            )
            spent = time.process_time() - began
            truth = pd.concat([truth, rows_of(measured, replicate, spent)], ignore_index=True)
            write(truth, path)
            print(f"{problem.name}: replicate {replicate}, {spent:.1f} s", flush=True)
    branch(problem, out / "branches.csv.gz", arguments.branches)
    foretell(problem, networks_of(problem.names), out / "foretold.csv.gz", arguments.foretold)
    for seed in range(arguments.traces):
        trace = out / f"trace-{seed}.safetensors"
        if not trace.with_suffix(".seconds").exists():
            began = time.process_time()
            record(problem, every=arguments.every, seed=seed, held_out=True).save(trace)
            seconds = f"{time.process_time() - began:.3f}\n"
            write_atomically(trace.with_suffix(".seconds"), seconds)
            print(f"{problem.name}: recorded {trace.name}", flush=True)
    if arguments.traces:
        estimate(problem, out)


def branch(problem: Problem, path: Path, count: int) -> None:
    """What every set of tasks loses in a short branch off a young all-in-one training."""
    branches = read(path)
    done = set(branches["replicate"]) if len(branches) else set[int]()
    for number in sorted(set(range(count)) - done):
        replicate = problem.replicate(number)
        assert replicate.evaluation is not None  # the problem drew it
        blind = replace(replicate, test=replicate.evaluation)
        began = time.process_time()
        measured = Branching()(problem, networks_of(problem.names), blind)
        rows = rows_of(measured, number, time.process_time() - began)
        rows = rows[["replicate", "network", "task", "evaluation_loss", "seconds"]]
        branches = pd.concat([branches, rows], ignore_index=True)
        write(branches, path)
        print(f"{problem.name}: branches on replicate {number}", flush=True)


def estimate(problem: Problem, out: Path) -> None:
    """What every estimator says of each recorded run, and how long the runs took."""
    frames = [LabelCorrelation()(problem).frame().assign(estimator="label correlation", run=-1)]
    recordings: list[dict[str, float]] = []
    for path in sorted(out.glob("trace-*.safetensors")):
        run, trace = int(path.stem.removeprefix("trace-")), Trace.load(path)
        seconds = float(path.with_suffix(".seconds").read_text())
        recordings.append({"replicate": run, "seconds": seconds})
        frames += [
            make()(trace).frame().assign(estimator=name, run=run)
            for name, make in ESTIMATORS.items()
            if name not in NEED_OPTIMIZER_STEPS
        ]
    affinities = pd.concat(frames).rename(columns={"run": "replicate"})
    columns = ["estimator", "replicate", "source", "target", "affinity"]
    text = affinities[columns].to_csv(index=False, float_format="%.6g")
    write_atomically(out / "affinities.csv", text)
    text = pd.DataFrame(recordings).sort_values("replicate").to_csv(index=False)
    write_atomically(out / "recordings.csv", text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, prog="scripts/truth")
    parser.add_argument("source", help="a table, a built-in problem, or a table's name")
    parser.add_argument("--targets", help="which tasks, at most eight")
    parser.add_argument("--exclude", help="columns to leave out of the features")
    parser.add_argument("--replicates", type=int, default=20)
    parser.add_argument("--out", default="reports/truth", help="where to; a folder a table")
    parser.add_argument("--rows", type=int, help="rows of a replicate; all development rows if not")
    parser.add_argument("--blocks", type=int, help="draw so many blocks of time, not rows")
    parser.add_argument("--validation-share", type=float, default=0.15)
    parser.add_argument("--evaluation-share", type=float, default=0.3)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--depth", type=int, default=2)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--learning-rate", type=float)
    parser.add_argument("--patience", type=int)
    parser.add_argument(
        "--schedule", default="constant", help="of the step size: constant or cosine"
    )
    parser.add_argument("--average-weights", action="store_true", help="judge them too")
    parser.add_argument("--traces", type=int, default=0, help="record all-in-one on the first")
    parser.add_argument("--branches", type=int, default=0, help="branch on the first replicates")
    parser.add_argument("--foretold", type=int, default=0, help="say gains without training them")
    parser.add_argument("--every", type=int, default=5, help="measure at every so many steps")
    try:
        torch.set_num_threads(1)
        run(parser.parse_args())
    except InputError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
