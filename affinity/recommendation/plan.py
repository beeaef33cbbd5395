"""A plan: networks, how each shares its parameters, and why; a YAML file that a person can edit."""

import difflib
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast, get_args

import yaml

from affinity import markup
from affinity.errors import InputError
from affinity.files import write_atomically
from affinity.grouping import Grouping, Network
from affinity.words import count

from .lines import lines_of

Sharing = Literal["hard", "soft", "mmoe", "cross-stitch", "separate"]
SHARING: tuple[Sharing, ...] = get_args(Sharing)
KEYS = ("serves", "also_trains", "sharing", "reason")
VERSION = 1


@dataclass(frozen=True)
class Plan:
    """Which networks to train, how the tasks of each share, and the reasons.

    Args:
        grouping: The networks.
        sharing: How each network's tasks share parameters, in the order of the networks.
        reasons: Why, in words, in the same order.
        provenance: What the plan was made from.
        width: Of the trunks; the problem's own if None.

    Raises:
        InputError: If there is not one sharing and one reason for each network, a network of
            one task does not say "separate", or there is no such width.

    Example:
        >>> grouping = Grouping((Network.of("depth", "edges"), Network.of("keypoints")))
        >>> plan = Plan(grouping, ("hard", "separate"), ("They help each other.", "On its own."))
        >>> Plan.from_yaml(plan.to_yaml()) == plan
        True
    """

    grouping: Grouping
    sharing: tuple[Sharing, ...]
    reasons: tuple[str, ...]
    provenance: Mapping[str, Any] = field(default_factory=dict[str, Any], compare=False)
    width: int | None = None

    def __post_init__(self) -> None:
        n_networks = len(self.grouping.networks)
        for name in ("sharing", "reasons"):
            if len(getattr(self, name)) != n_networks:
                raise InputError(
                    f"Expected one entry of {name} for each of the {n_networks} networks, but got "
                    f"{len(getattr(self, name))}."
                )
        for network, sharing in zip(self.grouping.networks, self.sharing, strict=True):
            if network.is_alone and sharing != "separate":
                raise InputError(
                    f"Expected a network of the one task {next(iter(network.trained))!r} to be "
                    f"'separate', but got {sharing!r}."
                )
        if self.width is not None and self.width < 1:
            raise InputError(f"Expected a width of at least 1, but got {self.width}.")

    @classmethod
    def separate(cls, tasks: tuple[str, ...]) -> "Plan":
        """A network a task."""
        networks = tuple(Network.of(task) for task in tasks)
        return cls(
            Grouping(networks), ("separate",) * len(tasks), ("A network of its own.",) * len(tasks)
        )

    @classmethod
    def all_in_one(cls, tasks: tuple[str, ...]) -> "Plan":
        """One network for every task."""
        return cls(Grouping((Network.of(*tasks),)), ("hard",), ("Every task in one network.",))

    def _repr_html_(self) -> str:
        """For notebooks: a row a network, with the reasons."""
        return markup.table(
            ["network", "serves", "sharing", "reason"],
            [
                [str(number), ", ".join(sorted(network.served)), sharing, reason]
                for number, (network, sharing, reason) in enumerate(
                    zip(self.grouping.networks, self.sharing, self.reasons, strict=True), start=1
                )
            ],
            f"A plan of {count(len(self.sharing), 'network')} for "
            f"{count(len(self.grouping.tasks), 'task')}",
        )

    def plain(self) -> dict[str, Any]:
        """The plan as plain values, as they stand in its YAML."""
        networks: list[dict[str, Any]] = []
        for network, sharing, reason in zip(
            self.grouping.networks, self.sharing, self.reasons, strict=True
        ):
            entry: dict[str, Any] = {"serves": sorted(network.served)}
            if network.trained != network.served:
                entry["also_trains"] = sorted(network.trained - network.served)
            networks.append({**entry, "sharing": sharing, "reason": reason})
        return {
            "version": VERSION,
            **({"width": self.width} if self.width is not None else {}),
            "networks": networks,
            **{
                name: value
                for name in ("score", "bound", "solver")
                if (value := getattr(self.grouping, name)) is not None
            },
            "provenance": dict(self.provenance),
        }

    def to_yaml(self, path: str | Path | None = None) -> str:
        """The plan as YAML; also written to `path`, if one is given."""
        body = self.plain()
        text = _HEADER + yaml.safe_dump(body, sort_keys=False, allow_unicode=True, width=96)
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
            InputError: If the text is not a plan; the message says where.
        """
        is_file = isinstance(source, Path) or source.rstrip().endswith((".yaml", ".yml"))
        where = f"the plan {str(source)!r}" if is_file else "the plan"
        try:
            text = Path(source).read_text(encoding="utf-8") if is_file else str(source)
            body = yaml.safe_load(text)
            lines = lines_of(text)
        except OSError as error:
            raise InputError(f"Could not read {where}: {error.strerror}.") from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise InputError(f"Expected YAML in {where}: {error}") from error
        if not isinstance(body, dict) or not isinstance(body.get("networks"), list):
            raise InputError(f"Expected {where} to have a list of 'networks'.")
        if body.get("version") != VERSION:
            raise InputError(
                f"Expected {where} to be of version {VERSION}, but got {body.get('version')!r}."
            )
        width = body.get("width")
        if width is not None and (not isinstance(width, int) or isinstance(width, bool)):
            raise InputError(f"Expected the 'width' in {where} to be a number, but got {width!r}.")
        networks = cast("list[Any]", body["networks"])
        if wrong := [*_wrong_entries(networks), *_wrong_tasks(networks, tasks)]:
            described = "; ".join(
                f"line {lines[path]}: {what}" if path else what for path, what in wrong
            )
            raise InputError(f"Expected {where} to serve every task once, but {described}.")
        parts = [
            (frozenset(_names(e, "serves")), frozenset(_names(e, "also_trains"))) for e in networks
        ]
        grouping = Grouping(
            tuple(Network(trained=served | also, served=served) for served, also in parts),
            body.get("score"),
            body.get("bound"),
            body.get("solver"),
        )
        return cls(
            grouping,
            tuple(
                entry.get("sharing", "hard" if len(served | also) > 1 else "separate")
                for entry, (served, also) in zip(networks, parts, strict=True)
            ),
            tuple(str(entry.get("reason", "")) for entry in networks),
            body.get("provenance") or {},
            width,
        )


_HEADER = """\
# Which networks to train. Edit it: move tasks between the lists, then audit it again with
# --plan. Every task is served exactly once; 'also_trains' names tasks that only help.
"""


Wrong = tuple[tuple[Any, ...], str]
"""The path of an entry in the file, and what is wrong with it."""


def _wrong_entries(networks: list[Any]) -> Generator[Wrong]:
    """What is wrong with each network on its own."""
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
                    ((*path, key, at), f"a task name is text (quote it), not {name!r}")
                    for at, name in enumerate(cast("list[Any]", names))
                    if not isinstance(name, str)
                )
        if not entry.get("serves"):
            yield path, "the network serves no task"
        sharing = entry.get("sharing")
        n_tasks = len({*_names(entry, "serves"), *_names(entry, "also_trains")})
        if sharing is not None and sharing not in SHARING:
            at = (*path, "sharing")
            yield at, f"tasks share in one of the ways {list(SHARING)}, not {sharing!r}"
        elif n_tasks == 1 and sharing not in (None, "separate"):
            yield (*path, "sharing"), f"a network of one task is 'separate', not {sharing!r}"


def _wrong_tasks(networks: list[Any], tasks: tuple[str, ...] | None) -> Generator[Wrong]:
    """Tasks that are unknown, served twice, or not served."""
    places: dict[str, tuple[Any, ...]] = {}
    for number, entry in enumerate(networks):
        for at, name in enumerate(_names(entry, "serves")):
            path = ("networks", number, "serves", at)
            if name in places:
                yield path, f"{name!r} is served twice"
            places[name] = path
    for number, entry in enumerate(networks):
        for key in ("serves", "also_trains"):
            for at, name in enumerate(_names(entry, key)):
                if tasks is not None and name not in tasks:
                    near = difflib.get_close_matches(name, tasks, n=1)
                    hint = f"; did you mean {near[0]!r}?" if near else f"; there are {list(tasks)}"
                    yield ("networks", number, key, at), f"{name!r} is not a task{hint}"
                elif name not in places:
                    yield ("networks", number, key, at), f"{name!r} is trained and never served"
    if missing := sorted(set(tasks or ()) - set(places)):
        yield (), f"it leaves out {missing}"


def _names(entry: Any, key: str) -> list[str]:
    names = cast("dict[str, Any]", entry).get(key) if isinstance(entry, dict) else None
    listed = cast("list[Any]", names) if isinstance(names, list) else []
    return [name for name in listed if isinstance(name, str)]
