"""The command `scripts/fidelity`."""

import argparse
import json
import shlex
import sys
import tempfile
from pathlib import Path

import pandas as pd

from affinity.errors import InputError

from .kept import measure_missing
from .many_tasks import MOST_LISTED, count_tasks, replay
from .measure import Judged, measure
from .measured import Measured
from .methods import METHODS
from .published import write_published
from .report import write_report
from .shares import rows

REPLAY = "a CSV: a 0/1 column a task, then <task>.validation and <task>.test gains"


def main() -> None:
    """Judge methods on measured tables."""
    parser = argparse.ArgumentParser(
        prog="scripts/fidelity",
        description="How good the decisions of each method are: made on half of the replicates of "
        "a table that scripts/truth measured, judged on the other half.",
    )
    parser.add_argument("folders", nargs="*", type=Path, help="of scripts/truth, one a table")
    parser.add_argument("--replay", action="append", default=[], type=Path, help=REPLAY)
    parser.add_argument("--published", action="store_true", help="also replay published tables")
    parser.add_argument("--methods", default="", help="only these, separated by ';'")
    parser.add_argument("--halvings", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print a list of objects")
    parser.add_argument("--out", type=Path, help="keep judgements, table and picture here")
    parser.add_argument("--anew", default="", help="judge these again, though --out has them")
    parser.add_argument("--add", default="", help="judge only these; others stay as --out has them")
    parser.add_argument("--paired", default="", help="in the report: compare these with each other")
    arguments = parser.parse_args()
    try:
        large = [path for path in arguments.replay if count_tasks(path) > MOST_LISTED]
        arguments.replay = [path for path in arguments.replay if path not in large]
        judged = _judge(arguments, bool(large))
        found = [row for each in judged for row in rows(each)]
        found += [row for path in large for row in replay(path, arguments.halvings, arguments.seed)]
    except InputError as error:
        sys.exit(str(error))
    if arguments.json:
        print(json.dumps(found, indent=1))
    else:
        print(pd.DataFrame(found).to_string(index=False))
    if arguments.out and judged:
        command = shlex.join(["scripts/fidelity", *sys.argv[1:]])
        write_report(judged, arguments.out, command, _names(arguments.paired))


def _judge(arguments: argparse.Namespace, may_be_none: bool) -> list[Judged]:
    methods = METHODS
    chosen, added = _names(arguments.methods), _names(arguments.add)
    if unknown := [name for name in (*chosen, *added) if name not in METHODS]:
        raise InputError(f"Expected methods among {list(METHODS)}, but got {unknown}.")
    if chosen:
        methods = {name: METHODS[name] for name in ["all-in-one", "separate", *chosen]}
    tables = [Measured.read(folder) for folder in _tables(arguments.folders)]
    tables += [Measured.read_replay(path) for path in arguments.replay]
    if arguments.published:
        with tempfile.TemporaryDirectory() as folder:
            tables += [Measured.read_replay(path) for path in write_published(Path(folder))]
    if not tables and not may_be_none:
        raise InputError(
            "Expected folders of scripts/truth, as reports/truth/digits, --replay FILE or "
            "--published."
        )
    judged: list[Judged] = []
    for table in tables:
        print(f"{table.table}: {table.n_replicates} replicates", file=sys.stderr)
        if arguments.out:
            path = arguments.out / "judged" / f"{table.table}.json"
            decided = arguments.halvings, arguments.seed
            again = _names(arguments.anew)
            judged.append(measure_missing(table, methods, *decided, path, again, added))
        else:
            judged.append(measure(table, methods, arguments.halvings, arguments.seed))
    return judged


def _names(listed: str) -> list[str]:
    return [name.strip() for name in listed.split(";") if name.strip()]


def _tables(folders: list[Path]) -> list[Path]:
    """Folders of tables, and those within folders of folders."""
    found: list[Path] = []
    for folder in folders:
        within = sorted(path.parent for path in folder.glob("*/truth.csv.gz"))
        found += within or [folder]
    return found


if __name__ == "__main__":
    main()
