"""A plan: networks, how each shares its parameters, and why; a YAML file that a person can edit."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast, get_args

import yaml

from affinity import markup
from affinity.errors import InputError
from affinity.files import write_atomically
from affinity.grouping import Grouping, Network

Sharing = Literal["hard", "soft", "mmoe", "separate"]
SHARING: tuple[Sharing, ...] = get_args(Sharing)
VERSION = 1


@dataclass(frozen=True)
class Plan:
    """Which networks to train, how the tasks of each share, and the reasons.

    Args:
        grouping: The networks.
        sharing: How each network's tasks share parameters, in the order of the networks.
        reasons: Why, in words, in the same order.
        provenance: What the plan was made from.

    Raises:
        InputError: If there is not one sharing and one reason for each network, or a network of
            one task does not say "separate".

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
            f"A plan of {len(self.sharing)} networks for {len(self.grouping.tasks)} tasks",
        )

    def to_yaml(self, path: str | Path | None = None) -> str:
        """The plan as YAML; also written to `path`, if one is given."""
        networks: list[dict[str, Any]] = []
        for network, sharing, reason in zip(
            self.grouping.networks, self.sharing, self.reasons, strict=True
        ):
            entry: dict[str, Any] = {"serves": sorted(network.served)}
            if network.trained != network.served:
                entry["also_trains"] = sorted(network.trained - network.served)
            networks.append({**entry, "sharing": sharing, "reason": reason})
        body = {
            "version": VERSION,
            "networks": networks,
            **{
                name: value
                for name in ("score", "bound", "solver")
                if (value := getattr(self.grouping, name)) is not None
            },
            "provenance": dict(self.provenance),
        }
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
        networks: list[Network] = []
        sharing: list[Sharing] = []
        reasons: list[str] = []
        for number, entry in enumerate(cast("list[Any]", body["networks"]), start=1):
            served = _names(entry, "serves", f"network {number} of {where}")
            also = _names(entry, "also_trains", f"network {number} of {where}")
            networks.append(Network(trained=served | also, served=served))
            sharing.append(_sharing(entry, served | also, f"network {number} of {where}"))
            reasons.append(str(entry.get("reason", "")))
        grouping = Grouping(
            tuple(networks), body.get("score"), body.get("bound"), body.get("solver")
        )
        if tasks is not None and grouping.tasks != frozenset(tasks):
            unknown, missing = grouping.tasks - set(tasks), set(tasks) - grouping.tasks
            raise InputError(
                f"Expected {where} to serve the tasks {list(tasks)}"
                + (f"; it serves {sorted(unknown)}, which are not among them" if unknown else "")
                + (f"; it leaves out {sorted(missing)}" if missing else "")
                + "."
            )
        return cls(grouping, tuple(sharing), tuple(reasons), body.get("provenance") or {})


_HEADER = """\
# Which networks to train. Edit it: move tasks between the lists, then audit it again with
# --plan. Every task is served exactly once; 'also_trains' names tasks that only help.
"""


def _sharing(entry: dict[str, Any], trained: frozenset[str], where: str) -> Sharing:
    sharing = entry.get("sharing", "hard" if len(trained) > 1 else "separate")
    if sharing not in SHARING:
        raise InputError(
            f"Expected {where} to share in one of the ways {list(SHARING)}, but got {sharing!r}."
        )
    return sharing


def _names(entry: Any, key: str, where: str) -> frozenset[str]:
    names = cast("dict[str, Any]", entry).get(key, []) if isinstance(entry, dict) else None
    if not isinstance(names, list) or not all(
        isinstance(name, str) for name in cast("list[Any]", names)
    ):
        raise InputError(
            f"Expected {key!r} of {where} to be a list of task names, but got {names!r}."
        )
    return frozenset(cast("list[str]", names))
