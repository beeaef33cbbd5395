"""Plan: networks, how each shares its parameters, and why; a YAML file that a person can edit."""

import difflib
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import msgspec
import yaml

from affinity import markup
from affinity.errors import InputError, check_choice, check_number, check_same
from affinity.files import read_text_file, write_atomically
from affinity.grouping import Grouping, Network
from affinity.sharing import MERGED, SHARINGS, SharingSettings
from affinity.storage import to_jsonable
from affinity.words import count

KEYS = ("serves", "also_trains", "sharing", "settings", "reason")
VERSION = 1
PREDICTED = "predicted from one run, not measured"
_WAYS = {**SHARINGS, **MERGED}


@dataclass(frozen=True)
class PlanProvenance:
    """The origin of a plan; fields are None if unknown or not applicable.

    Args:
        estimator: What estimated the affinities or predicted the gains.
        evidence: In words, whether gains were measured, predicted or estimated.
        sharing_evidence: In words, whether the ways to share were measured, given or assumed.
        expected_gain: Expected mean gain over the tasks, with the ends of its 95 % interval.
        probability: Probability that no other grouping in the race is better by more than the
            tolerance.
        indistinguishable_from: Which of separate and all-in-one may be as good as the plan.
        unit: Unit of the expected gain.
        unknown: Limitations of the results, in sentences.
    """

    estimator: str | None = None
    evidence: str | None = None
    sharing_evidence: str | None = None
    expected_gain: tuple[float, float, float] | None = None
    probability: float | None = None
    indistinguishable_from: tuple[str, ...] | None = None
    problem: str | None = None
    budget: int | None = None
    unit: str | None = None
    unknown: tuple[str, ...] | None = None

    @property
    def is_predicted(self) -> bool:
        """Whether the plan follows predicted gains, not affinities or a race."""
        return self.evidence == PREDICTED


@dataclass(frozen=True)
class Plan(markup.ShownAsTable):
    """Which networks to train, how the tasks of each share parameters, and the reasons.

    Args:
        sharing: How each network's tasks share parameters, in the order of the networks.
        reasons: Why, in words, in the same order.
        width: Width of the trunks; the problem's own if None.
        settings: Settings of each network's way to share (`SharingMethod.settings`), such as
            ``{"strength": 1.0}`` of soft sharing; the usual ones if empty.

    Raises:
        InputError: If there is not one sharing and one reason for each network, a sharing is
            unknown, its settings are unknown or invalid, a network of one task is not
            "separate", or the width is below 1.

    Example:
        >>> grouping = Grouping((Network.of("depth", "edges"), Network.of("keypoints")))
        >>> plan = Plan(grouping, ("hard", "separate"), ("They help each other.", "On its own."))
        >>> Plan.from_yaml(plan.to_yaml()) == plan
        True
    """

    grouping: Grouping
    sharing: tuple[str, ...]
    reasons: tuple[str, ...]
    provenance: PlanProvenance = field(default_factory=PlanProvenance, compare=False)
    width: int | None = None
    settings: tuple[SharingSettings, ...] = ()

    def __post_init__(self) -> None:
        n_networks = len(self.grouping.networks)
        if not self.settings:
            object.__setattr__(self, "settings", ({},) * n_networks)
        for name in ("sharing", "reasons", "settings"):
            entries = len(getattr(self, name))
            check_same(f"the number of entries of {name}", entries, n_networks, "invalid-plan")
        for network, sharing in zip(self.grouping.networks, self.sharing, strict=True):
            check_choice("ways to share", sharing, _WAYS, "unknown-sharing")
            if network.is_alone and not _WAYS[sharing].allows_one_task:
                raise InputError(
                    f"Expected a network of the one task {next(iter(network.trained))!r} to be "
                    f"'separate', but got {sharing!r}.",
                    "invalid-plan",
                )
        for sharing, settings in zip(self.sharing, self.settings, strict=True):
            if settings:
                _WAYS[sharing].with_settings(settings)
        check_number("the width of a plan", self.width, "invalid-width", least=1)

    @classmethod
    def separate(cls, tasks: tuple[str, ...]) -> "Plan":
        """One network per task."""
        networks = tuple(Network.of(task) for task in tasks)
        return cls(
            Grouping(networks), ("separate",) * len(tasks), ("A network of its own.",) * len(tasks)
        )

    @classmethod
    def all_in_one(cls, tasks: tuple[str, ...]) -> "Plan":
        """One network for every task."""
        return cls(Grouping((Network.of(*tasks),)), ("hard",), ("Every task in one network.",))

    @classmethod
    def named(cls, name: str, tasks: tuple[str, ...]) -> "Plan":
        """The plan that a user names: "separate", "all-in-one", or a YAML file."""
        if name == "separate":
            return cls.separate(tasks)
        return cls.all_in_one(tasks) if name == "all-in-one" else cls.from_yaml(Path(name), tasks)

    @property
    def parts(self) -> list[tuple[Network, str, SharingSettings, str]]:
        """Each network with the way to share of its tasks, the settings of that, and the reason."""
        networks = self.grouping.networks
        return list(zip(networks, self.sharing, self.settings, self.reasons, strict=True))

    def as_table(self) -> markup.ResultTable:
        """One row per network, with the reasons."""
        return markup.ResultTable(
            ["network", "serves", "sharing", "reason"],
            [
                [str(number), ", ".join(sorted(network.served)), sharing, reason]
                for number, (network, sharing, _, reason) in enumerate(self.parts, start=1)
            ],
            f"A plan of {count(len(self.sharing), 'network')} for "
            f"{count(len(self.grouping.tasks), 'task')}",
        )

    def to_dict(self) -> dict[str, object]:
        """The plan as plain values, with the keys of its YAML file."""
        networks = [
            {
                "serves": sorted(network.served),
                "also_trains": sorted(network.trained - network.served) or None,
                "sharing": sharing,
                "settings": dict(settings) or None,
                "reason": reason,
            }
            for network, sharing, settings, reason in self.parts
        ]
        entries = {
            "version": VERSION,
            "width": self.width,
            "networks": [_without_none(entry) for entry in networks],
            "score": self.grouping.score,
            "bound": self.grouping.bound,
            "solver": self.grouping.solver,
            "provenance": _without_none(to_jsonable(self.provenance)),
        }
        return _without_none(entries)

    def to_yaml(self, path: str | Path | None = None) -> str:
        """The plan as YAML; also written to `path`, if one is given."""
        body = yaml.safe_dump(self.to_dict(), sort_keys=False, allow_unicode=True, width=96)
        text = _HEADER + body
        if path is not None:
            write_atomically(path, text)
        return text

    @classmethod
    def from_yaml(cls, source: str | Path, tasks: tuple[str, ...] | None = None) -> "Plan":
        """Read a plan from a file (a `Path`, or a name ending in .yaml or .yml) or from text.

        Args:
            source: The file or the text.
            tasks: The tasks that the plan must serve, where they are known.

        Raises:
            InputError: If the text is not a plan; the message names the lines.
        """
        is_file = isinstance(source, Path) or source.rstrip().endswith((".yaml", ".yml"))
        where = f"the plan {str(source)!r}" if is_file else "the plan"
        try:
            text = read_text_file(source, "the plan") if is_file else str(source)
            body = yaml.safe_load(text)
            lines = _line_numbers(text)
        except yaml.YAMLError as error:
            raise InputError(f"Expected YAML in {where}: {error}", "invalid-yaml") from error
        if not isinstance(body, dict) or not isinstance(body.get("networks"), list):
            raise InputError(f"Expected {where} to have a list of 'networks'.", "invalid-plan")
        check_same(f"the version of {where}", body.get("version"), VERSION, "unknown-version")
        networks = cast("list[Any]", body["networks"])
        if wrong := [*_wrong_entries(networks), *_wrong_tasks(networks, tasks)]:
            described = "; ".join(
                f"line {lines[path]}: {what}" if path else what for path, what in wrong
            )
            raise InputError(
                f"Expected {where} to serve every task once, but {described}.", "invalid-plan"
            )
        try:
            summary = msgspec.convert(body, _Summary)
        except msgspec.ValidationError as error:
            raise InputError(f"Could not read {where}: {error}.", "invalid-plan") from error
        parts = [
            (frozenset(_names(e, "serves")), frozenset(_names(e, "also_trains"))) for e in networks
        ]
        return cls(
            Grouping(
                tuple(Network(trained=served | also, served=served) for served, also in parts),
                summary.score,
                summary.bound,
                summary.solver,
            ),
            tuple(
                entry.get("sharing", "hard" if len(served | also) > 1 else "separate")
                for entry, (served, also) in zip(networks, parts, strict=True)
            ),
            tuple(str(entry.get("reason", "")) for entry in networks),
            summary.provenance or PlanProvenance(),
            summary.width,
            tuple(entry.get("settings") or {} for entry in networks),
        )


@dataclass(frozen=True)
class _Summary:
    """The entries of a plan file apart from its networks."""

    width: int | None = None
    score: float | None = None
    bound: float | None = None
    solver: str | None = None
    provenance: PlanProvenance | None = None


def _without_none(entries: Mapping[str, object]) -> dict[str, object]:
    return {key: value for key, value in entries.items() if value is not None}


_HEADER = """\
# Which networks to train. Edit it: move tasks between the lists, then audit it again with
# --plan. Every task is served exactly once; 'also_trains' names tasks that only help.
"""


_EntryPath = tuple[object, ...]  # keys and positions that lead to an entry of the file


def _wrong_entries(networks: list[Any]) -> Generator[tuple[_EntryPath, str]]:
    """The path and the problem of each invalid entry of a network."""
    for number, entry in enumerate(networks):
        path = ("networks", number)
        if not isinstance(entry, dict):
            yield path, f"a network is 'serves: [...]', not {entry!r}"
            continue
        entry = cast("dict[Any, Any]", entry)
        for key in entry:
            if key not in KEYS:
                near = difflib.get_close_matches(str(key), KEYS, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"there are {list(KEYS)}"
                yield (*path, key), f"{key!r} is unknown; {hint}"
        for key in ("serves", "also_trains"):
            names = entry.get(key, [])
            if not isinstance(names, list):
                yield (*path, key), f"{key!r} takes a list of task names, not {names!r}"
            else:
                yield from (
                    ((*path, key, position), f"a task name is text (quote it), not {name!r}")
                    for position, name in enumerate(cast("list[Any]", names))
                    if not isinstance(name, str)
                )
        if not entry.get("serves"):
            yield path, "the network serves no task"
        sharing = entry.get("sharing")
        n_tasks = len({*_names(entry, "serves"), *_names(entry, "also_trains")})
        if sharing is not None and sharing not in _WAYS:
            yield (*path, "sharing"), f"sharing is one of {list(_WAYS)}, not {sharing!r}"
        elif n_tasks == 1 and sharing is not None and not _WAYS[sharing].allows_one_task:
            yield (*path, "sharing"), f"a network of one task is 'separate', not {sharing!r}"
        elif (settings := entry.get("settings")) is not None:
            try:
                method = _WAYS[sharing or ("hard" if n_tasks > 1 else "separate")]
                method.with_settings(cast("SharingSettings", dict(settings)))
            except (InputError, TypeError, ValueError) as error:
                yield (*path, "settings"), str(error)


def _wrong_tasks(
    networks: list[Any], tasks: tuple[str, ...] | None
) -> Generator[tuple[_EntryPath, str]]:
    """Tasks that are unknown, served twice, or not served."""
    places: dict[str, _EntryPath] = {}
    for number, entry in enumerate(networks):
        for position, name in enumerate(_names(entry, "serves")):
            path = ("networks", number, "serves", position)
            if name in places:
                yield path, f"{name!r} is served twice"
            places[name] = path
    for number, entry in enumerate(networks):
        for key in ("serves", "also_trains"):
            for position, name in enumerate(_names(entry, key)):
                if tasks is not None and name not in tasks:
                    near = difflib.get_close_matches(name, tasks, n=1)
                    hint = f"; did you mean {near[0]!r}?" if near else f"; there are {list(tasks)}"
                    yield ("networks", number, key, position), f"{name!r} is not a task{hint}"
                elif name not in places:
                    yield (
                        ("networks", number, key, position),
                        f"{name!r} is trained and never served",
                    )
    if missing := sorted(set(tasks or ()) - set(places)):
        yield (), f"no network serves {missing}"


def _names(entry: Any, key: str) -> list[str]:
    names = cast("dict[str, Any]", entry).get(key) if isinstance(entry, dict) else None
    listed = cast("list[Any]", names) if isinstance(names, list) else []
    return [name for name in listed if isinstance(name, str)]


def _line_numbers(text: str) -> dict[_EntryPath, int]:
    """The line of every YAML entry, from 1, by its path of keys and positions.

    PyYAML marks lines; ruamel.yaml, which lists them, would be a second YAML library.
    """
    lines: dict[_EntryPath, int] = {}
    visited: set[int] = set()  # an alias may refer to one of its parents

    def visit(node: yaml.Node, path: _EntryPath) -> None:
        lines.setdefault(path, node.start_mark.line + 1)
        if id(node) in visited:
            return
        visited.add(id(node))
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                name = yaml.SafeLoader("").construct_object(key)  # pyright: ignore[reportArgumentType]
                lines[*path, name] = key.start_mark.line + 1
                visit(value, (*path, name))
        elif isinstance(node, yaml.SequenceNode):
            for position, entry in enumerate(node.value):
                visit(entry, (*path, position))

    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if root is not None:
        visit(root, ())
    return lines
