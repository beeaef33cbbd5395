"""The settings of an audit: defaults, then a YAML file, then flags."""

import difflib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, cast

import yaml

from affinity.audit.baselines import BASELINES
from affinity.errors import InputError
from affinity.problems import Problem, load_digits, load_table, planted
from affinity.problems.kinds import KINDS, Kind
from affinity.training import TrainingSettings

BUILT_IN = {"digits": load_digits, "planted": planted}
"""Problems that need no file."""


@dataclass(frozen=True)
class AuditOptions:
    """What decides an audit's result; two audits with equal options of equal data are the same.

    A value of None is chosen from the data.
    """

    source: str
    targets: tuple[str, ...] = ()
    task_column: str | None = None
    kinds: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    time_column: str | None = None
    split_column: str | None = None
    known: float | None = None
    test_share: float = 0.25
    validation_share: float = 0.2
    budget: int | None = None
    overlap: bool = False
    estimator: str = "inter-task affinity"
    sharing: str = "hard"
    plan: str | None = None
    replicates: int | None = None
    minutes: float | None = None
    max_replicates: int | None = None
    baselines: str = "all"
    verify: str | None = None
    race_minutes: float = 3.0
    tolerance: float = 0.01
    every: int = 10
    runs: int = 1
    width: int | None = None
    depth: int | None = None
    epochs: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    patience: int | None = None
    seed: int = 0

    def problem(self) -> Problem:
        """Read the table, or make the built-in problem, with these settings."""
        problem = self._read()
        chosen = {
            name: value
            for name in ("epochs", "batch_size", "learning_rate", "patience")
            if (value := getattr(self, name)) is not None
        }
        return problem.with_settings(replace(problem.settings, **chosen))

    def _read(self) -> Problem:
        size = {
            name: value for name in ("width", "depth") if (value := getattr(self, name)) is not None
        }
        for name, value in size.items():
            if value < 1:
                raise InputError(f"Expected a {name} of at least 1, but got {value}.")
        if self.source in BUILT_IN and not Path(self.source).exists():
            if self.targets or self.task_column:
                raise InputError(
                    f"Expected no targets for the built-in problem {self.source!r}: it has its own."
                )
            return BUILT_IN[self.source](test_share=self.test_share, draw=self.seed, **size)
        if not Path(self.source).exists():
            near = difflib.get_close_matches(self.source, BUILT_IN, n=1)
            raise InputError(
                f"Expected a table or one of the built-in problems {list(BUILT_IN)}, but there is "
                f"no file {self.source!r}." + (f" Did you mean {near[0]!r}?" if near else "")
            )
        is_long = self.task_column is not None
        if is_long and len(self.targets) != 1:
            raise InputError(
                f"Expected one --target beside --task-column {self.task_column}, but got "
                f"{list(self.targets) or 'none'}."
            )
        return load_table(
            self.source,
            targets=None if is_long else self.targets,
            task_column=self.task_column,
            target=self.targets[0] if is_long else None,
            kinds=_kinds(self.kinds),
            exclude=self.exclude,
            time_column=self.time_column,
            split_column=self.split_column,
            known=self.known or 1.0,
            test_share=self.test_share,
            validation_share=self.validation_share,
            seed=self.seed,
            **size,
        )

    def budget_for(self, n_tasks: int) -> int:
        """The budget asked for, or a third of the tasks and at least two."""
        budget = self.budget if self.budget is not None else max(2, -(-n_tasks // 3))
        if not 1 <= budget <= n_tasks:
            raise InputError(
                f"Expected a budget between 1 and {n_tasks}, the number of tasks, but got {budget}."
            )
        return budget

    def replicates_for(self, n_tasks: int) -> int:
        """The replicates asked for, or ten, or five where there are many tasks."""
        replicates = self.replicates if self.replicates is not None else 10 if n_tasks <= 20 else 5
        if replicates < 1:
            raise InputError(f"Expected replicates of at least 1, but got {replicates}.")
        return replicates

    def growth(self) -> dict[str, Any]:
        """How `retrain` adds replicates: not at all, or until the verdicts are decided."""
        if self.minutes is None and self.max_replicates is None:
            return {}
        for name in ("minutes", "max_replicates"):
            if (value := getattr(self, name)) is not None and not value > 0:
                raise InputError(f"Expected {name} above 0, but got {value}.")
        most = {} if self.max_replicates is None else {"max_replicates": self.max_replicates}
        return {"until": "decided", "minutes": self.minutes, **most}

    def chosen_baselines(self) -> tuple[str, ...]:
        """What stands beside the plan besides separate networks and all-in-one."""
        if self.baselines not in ("all", "few"):
            raise InputError(f"Expected the baselines 'all' or 'few', but got {self.baselines!r}.")
        return BASELINES if self.baselines == "all" else ()

    def plain(self) -> dict[str, Any]:
        """As values for YAML and JSON."""
        return {
            name: list(cast("tuple[str, ...]", value)) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
        }


def gather(flags: Mapping[str, Any], config: Path | None) -> AuditOptions:
    """Flags over the file over the defaults; flags that were not given are None or empty.

    Raises:
        InputError: If the file is not YAML, or holds an unknown or ill-typed option.
    """
    given = {name: value for name, value in flags.items() if value not in (None, [], ())}
    merged: dict[str, Any] = {**(_read(config) if config else {}), **given}
    if "source" not in merged:
        raise InputError(
            f"Expected a table or one of the built-in problems {list(BUILT_IN)}: affinity audit "
            "digits"
        )
    for name in ("targets", "kinds", "exclude"):
        if name in merged:
            merged[name] = tuple(merged[name])
    for name in ("source", "plan"):  # so that the run finds them from elsewhere
        if merged.get(name) and Path(merged[name]).exists():
            merged[name] = str(Path(merged[name]).resolve())
    return AuditOptions(**merged)


def _read(path: Path) -> dict[str, Any]:
    try:
        body = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"Could not read the config {str(path)!r}: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"Expected YAML in the config {str(path)!r}: {error}") from error
    if not isinstance(body, dict):
        raise InputError(f"Expected options by name in the config {str(path)!r}, like 'budget: 3'.")
    options: dict[str, Any] = {}
    types = {field.name: field.type for field in fields(AuditOptions)}
    for key, value in cast("dict[Any, Any]", body).items():
        name = str(key).replace("-", "_")
        if name not in types:
            near = difflib.get_close_matches(name, types, n=1)
            raise InputError(
                f"Unknown option {key!r} in the config {str(path)!r}"
                + (f"; did you mean {near[0]!r}?" if near else f"; there are {list(types)}.")
            )
        options[name] = _fitting(name, value, str(types[name]), path)
    return options


def _fitting(name: str, value: Any, kind: str, path: Path) -> Any:
    if name == "kinds" and isinstance(value, dict):
        pairs = cast("dict[Any, Any]", value)
        return [f"{target}={found}" for target, found in pairs.items()]
    if "tuple" in kind:
        if isinstance(value, str):
            return [part.strip() for part in value.split(",")]
        fits = isinstance(value, list) and all(
            isinstance(entry, str) for entry in cast("list[Any]", value)
        )
    elif value is None:
        fits = "None" in kind
    elif "bool" in kind:
        fits = isinstance(value, bool)
    elif "int" in kind:
        fits = isinstance(value, int) and not isinstance(value, bool)
    elif "float" in kind:
        fits = isinstance(value, int | float) and not isinstance(value, bool)
    else:
        fits = isinstance(value, str)
    if not fits:
        raise InputError(
            f"Expected {name!r} in the config {str(path)!r} to be {kind}, but got {value!r}."
        )
    return value


def _kinds(pairs: tuple[str, ...]) -> dict[str, Kind]:
    kinds: dict[str, Kind] = {}
    for pair in pairs:
        name, equals, kind = pair.rpartition("=")
        if not equals or kind not in KINDS:
            raise InputError(
                f"Expected --kind NAME=KIND with one of the kinds {list(KINDS)}, but got {pair!r}."
            )
        kinds[name] = kind
    return kinds


def settings_of(settings: TrainingSettings) -> dict[str, Any]:
    """Training settings as plain values."""
    return asdict(settings)
