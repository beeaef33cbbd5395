"""What was typed, as options of an audit."""

import shlex
import sys
from typing import Any

from affinity.cli.run_directory import LATER_OPTIONS


def recorded_options(given: dict[str, Any]) -> dict[str, Any]:
    """What decides the recorded run, out of a command's arguments."""
    names = (
        "source task_column exclude time_column split_column test_share validation_share width "
        "depth epochs batch_size learning_rate patience every runs seed"
    )
    targets = given["targets"].split(",") if given["targets"] else ()
    return {
        **{name: given[name] for name in names.split()},
        "targets": [*targets, *(given["target"] or ())],
        "kinds": given["kind"],
    }


def later_options(given: dict[str, Any]) -> dict[str, Any]:
    """What decides the stages after it."""
    return {name: given[name] for name in LATER_OPTIONS}


def typed() -> str:
    """The command as a person would type it again."""
    return "affinity " + shlex.join(sys.argv[1:])
