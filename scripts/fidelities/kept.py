"""Judgements kept in files, so that only new methods and new tables are judged."""

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from affinity.files import write_atomically

from .measure import Choices, Judged, Method, measure
from .measured import Measured


def measure_missing(
    measured: Measured,
    methods: Mapping[str, Method],
    halvings: int,
    seed: int,
    path: Path,
    anew: Collection[str] = (),
    add: Collection[str] = (),
) -> Judged:
    """Like `measure`, with what the file already holds for the same data, halvings and settings.

    The file does not know when the code of a method changed: name it in `anew`. With `add`, only
    these methods are judged, and all that the file holds of others stays, whatever their settings.
    """
    what = {"halvings": halvings, "seed": seed, "data": _fingerprint(measured)}
    settings = {name: repr(method) for name, method in methods.items()}
    kept = json.loads(path.read_text()) if path.exists() else {}
    kept = kept if kept.get("what") == what else {}
    if add:
        settings = kept.get("settings", {}) | {name: settings[name] for name in add}
        methods = {name: method for name, method in methods.items() if name in settings}
    known = {
        name
        for name, setting in settings.items()
        if kept.get("settings", {}).get(name) == setting and name not in anew
    }
    missing = {name: method for name, method in methods.items() if name not in known}
    if kept and not missing:
        return _ordered(_read(kept["judged"]), methods)
    judged = measure(measured, missing, halvings, seed)
    if known:
        before = _read(kept["judged"]).choices
        choices = {key: each for key, each in before.items() if key[0] in known}
        judged = replace(judged, choices={**choices, **judged.choices})
    body = {"what": what, "settings": settings, "judged": _plain(judged)}
    write_atomically(path, json.dumps(body) + "\n")
    return _ordered(judged, methods)


def _ordered(judged: Judged, methods: Mapping[str, Method]) -> Judged:
    keys = [(name, budget) for name in methods for budget in judged.budgets]
    return replace(
        judged, choices={key: judged.choices[key] for key in keys if key in judged.choices}
    )


def _fingerprint(measured: Measured) -> str:
    parts = [measured.losses, measured.judging, measured.seconds]
    parts += [
        matrix
        for _, runs in sorted(measured.affinities.items())
        for _, matrix in sorted(runs.items())
    ]
    digest = hashlib.sha256()
    for part in parts:
        digest.update(np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()[:16]


def _plain(judged: Judged) -> dict[str, Any]:
    choices = [
        {
            "method": name,
            "budget": budget,
            **asdict(each),
            "gains": each.gains.round(6).tolist(),
            "spearman": None if np.isnan(each.spearman) else each.spearman,
        }
        for (name, budget), each in judged.choices.items()
    ]
    random = {str(budget): gains.round(6).tolist() for budget, gains in judged.random.items()}
    return {
        "table": judged.table,
        "n_tasks": judged.n_tasks,
        "choices": choices,
        "random": random,
        "ceiling": judged.ceiling,
        "is_replay": judged.is_replay,
    }


def _read(body: dict[str, Any]) -> Judged:
    choices: dict[tuple[str, int], Choices] = {}
    for entry in body["choices"]:
        fields = dict(entry)
        key = fields.pop("method"), fields.pop("budget")
        fields["gains"] = np.array(fields["gains"])
        fields["spearman"] = np.nan if fields["spearman"] is None else fields["spearman"]
        choices[key] = Choices(**fields)
    random = {int(budget): np.array(gains) for budget, gains in body["random"].items()}
    return Judged(**{**body, "choices": choices, "random": random})
