"""What few-shot results say in plain words: how to learn a new task from how many rows."""

from collections.abc import Mapping
from typing import Any

from affinity.words import count, listed

from .headline import Headline
from .numbers import fixed, tone

BASELINE = "from scratch"


def fewshot_headline(result: Mapping[str, Any]) -> Headline:
    """Say which method to use at which number of shots.

    Args:
        result: As `FewShotResult.plain` gives it.
    """
    shots_of: dict[str, list[str]] = {}
    for shots, method in result["advised"].items():
        shots_of.setdefault(method, []).append(shots)
    parts = [f"{_what(method)} for {_shots(each)}" for method, each in shots_of.items()]
    title = "; ".join(parts)
    doubts = [result["one_distribution"]["warning"]]
    return Headline(
        f"{title[0].upper()}{title[1:]}.",
        (*(f"With {line}" for line in result["advice"]), *(each for each in doubts if each)),
        is_sure=not result["one_distribution"]["differs"],
    )


def fewshot_facts(result: Mapping[str, Any]) -> list[dict[str, str]]:
    """Name, value, note and tone of the few numbers under the verdict."""
    rows = {(row["shots"], row["method"], row["steps"]): row for row in result["rows"]}
    facts: list[dict[str, str]] = []
    for shots, method in result["advised"].items():
        row = rows[int(shots), method, result["steps"][-1]]
        low, high = row.get("better_low"), row.get("better_high")
        facts.append(
            {
                "name": f"{result['score'].capitalize()} at {_shots([shots])}, {method}",
                "value": fixed(row["score"]),
                "note": _range(row["low"], row["high"]),
                "tone": "" if method == BASELINE else tone(low, high),
            }
        )
    n_tasks, replicates = result["n_tasks"], result["replicates"]
    return [
        *facts,
        {
            "name": "Meta-test tasks",
            "value": f"{n_tasks:,}",
            "note": "which no method learned from",
            "tone": "",
        },
        {
            "name": "Meta-trainings",
            "value": str(replicates),
            "note": "intervals hold for others, too"
            if replicates > 1
            else "intervals hold for other tasks only",
            "tone": "",
        },
    ]


def over(result: Mapping[str, Any]) -> str:
    """What the intervals are over."""
    tasks = count(result["n_tasks"], "meta-test task")
    if result["replicates"] == 1:
        return f"{tasks} after one meta-training; other meta-trainings may differ by more"
    return f"{tasks} and {result['replicates']} meta-trainings"


def _what(method: str) -> str:
    return "learn each new task from scratch" if method == BASELINE else f"use {method}"


def _shots(shots: list[str]) -> str:
    return f"{listed(shots)} shot{'' if shots == ['1'] else 's'}"


def _range(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{fixed(low)} to {fixed(high)}"
