"""The options of every command: one field is the flag, the YAML key, the default and the help."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, dataclass_transform

from cyclopts import Group, Parameter, Token

Method = Literal["race", "surrogate", "affinity"]  # how a grouping is found, best first
ARGUMENTS = Group("Arguments", sort_key=0)
DATA = Group("Data", sort_key=1)
NETWORK = Group("Network", sort_key=2)
RECORDING = Group("Recording", sort_key=3)
GROUPING = Group("Grouping", sort_key=4)
AUDIT = Group("Audit", sort_key=5)
TRANSFER = Group("Transfer", sort_key=6)
EPISODES = Group("Episodes", sort_key=6)
DIAGNOSIS = Group("Diagnosis", sort_key=7)
STUDY = Group("Study", sort_key=5)
TRAINING = Group("Training", sort_key=6)
OUTPUT = Group("Output", sort_key=9)


T = TypeVar("T")


def option(
    text: str,
    *,
    default: object = MISSING,
    default_factory: object = MISSING,
    kw_only: bool = True,
    group: Group | None = None,
    flag: str | tuple[str, ...] = (),
    off: str = "",
    shown: str = "",
    least: int | None = None,
    above: float | None = None,
    below: float | None = None,
    metavar: str | None = None,
    parse: Callable[[type, Sequence[Token]], object] | None = None,
) -> Any:
    """A field that is an option of commands, with its help.

    `group` is the heading of the help (default: that of its class), `flag` another name than the
    field's, `off` the flag that switches a boolean off. The help shows `shown` as default, if the
    value does not say it, and `metavar` as value; NAME at its start: the option fills a mapping.
    Values are at least `least`, larger than `above`, smaller than `below`.
    """

    def check(_: object, given: float | tuple[float, ...] | None) -> None:
        for value in given if isinstance(given, tuple) else () if given is None else (given,):
            if least is not None and value < least:
                raise ValueError(f"Must be at least {least}.")
            if above is not None and not value > above:
                raise ValueError(f"Must be above {above:g}.")
            if below is not None and not value < below:
                raise ValueError(f"Must be below {below:g}.")

    def show_default(value: object) -> str | None:
        return None if value in (None, (), {}) or value is False else str(value)

    parameter: dict[str, Any] = {
        "name": flag,
        "help": text,
        "negative": off or (),
        "validator": check,
        "show_default": shown or show_default,
        "allow_repeating": None if parse else True,  # the last one wins
        "metavar": metavar,
        "converter": parse,
    }
    if metavar is not None and metavar.startswith("NAME"):
        parameter |= {"accepts_keys": False, "n_tokens": -1}  # repeatable
    if group is not None:
        parameter["group"] = group
    defaults = {"default": default, "default_factory": default_factory}
    known: dict[str, Any] = {k: v for k, v in defaults.items() if v is not MISSING}
    return field(kw_only=kw_only, metadata={"parameter": parameter}, **known)


def argument(text: str, *, default: object = MISSING, kw_only: Literal[False] = False) -> Any:
    """A field that is given by its place."""
    return option(text, default=default, kw_only=kw_only, group=ARGUMENTS)


@dataclass_transform(
    frozen_default=True, kw_only_default=True, field_specifiers=(option, argument, field)
)
def options(group: Group = ARGUMENTS) -> Callable[[type[T]], type[T]]:
    """A frozen dataclass whose fields are options, shown under this heading."""

    def decorate(cls: type[T]) -> type[T]:
        for name, annotation in list(cls.__annotations__.items()):
            entry = vars(cls).get(name)
            if isinstance(entry, Field) and "parameter" in entry.metadata:
                settings: dict[str, Any] = {"group": group, **entry.metadata["parameter"]}
                if annotation in (int, int | None):
                    settings["converter"] = _whole
                cls.__annotations__[name] = Annotated[annotation, Parameter(**settings)]
        return dataclass(frozen=True, kw_only=True)(cls)

    return decorate


def _columns(_: type, tokens: Sequence[Token]) -> tuple[str, ...]:
    """Names: `--targets` splits its value at commas, `--target` takes one name as it is."""
    names: list[str] = []
    for token in tokens:
        names += token.value.split(",") if token.keyword == "--targets" else [token.value]
    return tuple(name.strip() for name in names)


def _listed(_: type, tokens: Sequence[Token]) -> tuple[str, ...]:
    return tuple(name.strip() for token in tokens for name in token.value.split(","))


def _texts(_: type, tokens: Sequence[Token]) -> tuple[str, ...]:
    """Values as they are typed; `-1` is one, too."""
    return tuple(token.value for token in tokens)


def _whole(_: type, tokens: Sequence[Token]) -> int:
    """A whole number; the parser's own would round 2.5 to 2."""
    try:
        return int(tokens[-1].value)
    except ValueError:
        raise ValueError(f"Expected a whole number, but got {tokens[-1].value!r}.") from None


def _numbers(_: type, tokens: Sequence[Token]) -> tuple[int, ...]:
    """Whole numbers, separated by commas."""
    try:
        return tuple(int(part) for token in tokens for part in token.value.split(","))
    except ValueError:
        raise ValueError("Expected whole numbers separated by commas, such as 1,5.") from None


def _parts(tokens: Sequence[Token]) -> list[str]:
    """`A=1,B=2` as two parts; a comma that no NAME= follows stays."""
    return [part for token in tokens for part in re.split(r",\s*(?=[^,=]+=)", token.value)]


def _pairs(_: type, tokens: Sequence[Token]) -> dict[str, str]:
    """NAME=VALUE; the name may hold equals signs."""
    pairs: dict[str, str] = {}
    for part in _parts(tokens):
        name, equals, value = part.rpartition("=")
        if not (name and equals and value):
            raise ValueError(f"Expected NAME=VALUE, but got {part!r}.")
        pairs[name] = value
    return pairs


KINDS = ("regression", "binary", "classes", "count", "ordinal", "set", "censored", "vector", "log")


def _kinds(_: type, tokens: Sequence[Token]) -> dict[str, str]:
    """NAME=KIND or NAME=KIND:COLUMNS, with a kind that there is; names may hold equals signs."""
    kinds: dict[str, str] = {}
    for part in _parts(tokens):
        match = re.fullmatch(rf"(.+)=(({'|'.join(KINDS)})(:.*)?)", part, re.DOTALL)
        if match is None:
            raise ValueError(
                f"Expected NAME=KIND with one of {', '.join(KINDS)}, but got {part!r}."
            )
        kinds[match[1]] = match[2]
    return kinds


def _logarithms(of: type, tokens: Sequence[Token]) -> dict[str, str]:
    """NAME=log."""
    transforms = _pairs(of, tokens)
    if set(transforms.values()) - {"log"}:
        raise ValueError(f"Expected NAME=log, but got {sorted(set(transforms.values()))}.")
    return transforms


def _scores(_: type, tokens: Sequence[Token]) -> dict[str, str]:
    """NAME:DIRECTION; `--tasks` splits its value at commas, `--task` takes one as it is."""
    directions: dict[str, str] = {}
    for token in tokens:
        parts = token.value.split(",") if token.keyword == "--tasks" else [token.value]
        for part in parts:
            name, direction = part.rpartition(":")[::2]
            if not name.strip() or direction.strip() not in ("maximize", "minimize"):
                raise ValueError(
                    f"Expected NAME:maximize or NAME:minimize, but got {part!r}. If a name has a "
                    "comma, give each task by --task NAME:DIRECTION."
                )
            if name.strip() in directions:
                raise ValueError(f"Expected each task once, but got {name.strip()!r} twice.")
            directions[name.strip()] = direction.strip()
    return directions


def _numbers_by_name(of: type, tokens: Sequence[Token]) -> dict[str, float]:
    """NAME=NUMBER; the name may hold equals signs."""
    try:
        return {name: float(value) for name, value in _pairs(of, tokens).items()}
    except ValueError as error:
        raise ValueError(f"Expected NAME=NUMBER: {error}") from None


def _values_by_name(of: type, tokens: Sequence[Token]) -> dict[str, float | int | str]:
    """NAME=VALUE, where the value is a whole number, a number or a text."""

    def value_of(text: str) -> float | int | str:
        for kind in (int, float):
            try:
                return kind(text)
            except ValueError:
                continue
        return text

    return {name: value_of(value) for name, value in _pairs(of, tokens).items()}


_SECONDS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


def _duration(unit: str) -> Callable[[type, Sequence[Token]], float]:
    """A parser of 90s, 30m, 6h, 2d, or a number of `unit`, into a number of `unit`."""

    def parse(_: type, tokens: Sequence[Token]) -> float:
        text = tokens[-1].value.strip().lower()
        match = re.fullmatch(r"(\d+\.?\d*|\.\d+)\s*(min|[smhd]?)", text)
        if match is None or float(match[1]) == 0:
            raise ValueError(
                f"Expected a time above 0, such as 30s, 10m or 1h, but got {text!r}. A number "
                f"without a unit is in {'minutes' if unit == 'm' else 'seconds'}."
            )
        return float(match[1]) * _SECONDS[match[2] or unit] / _SECONDS[unit]

    return parse


@Parameter(name="*")  # its fields are the command's parameters
@options(OUTPUT)
class OutputOptions:
    """Every command's."""

    debug: bool = option("Show tracebacks.", default=False)


@options(OUTPUT)
class QuietOptions(OutputOptions):
    """Of commands that report progress."""

    quiet: bool = option("Only print errors.", default=False)


@options(OUTPUT)
class JsonOptions:
    """Of commands whose result can be read by programs."""

    json: bool = option(
        "Print the result as JSON to standard output, text to standard error.", default=False
    )


@options(OUTPUT)
class VerdictOptions:
    """Of commands that end with a verdict per task."""

    fail_on: Literal["harmful"] | None = option(
        "Exit with code 3 if the plan harms a task, or the tasks on average.", default=None
    )
    junit: Path | None = option("Write a JUnit file with one test case per task.", default=None)


@options(OUTPUT)
class FileOptions:
    """Of commands that start a run."""

    out: Path | None = option("Folder of the run.", default=None, shown="runs/NAME of the data")
    config: Path | None = option("YAML file with any of these options; flags win.", default=None)


@options(ARGUMENTS)
class SourceOptions:
    """Where the data are."""

    source: str = argument(
        "Table (CSV, Parquet, Feather, JSON, Excel; a folder of Parquet files; '-': standard "
        "input), 'digits' or 'planted'."
    )


@options(DATA)
class ReadingSettings(SourceOptions):
    """How the table is read, where it does not say so itself."""

    separator: str | None = option(
        "Character between columns.", default=None, shown="found from the first lines"
    )
    decimal: Literal[".", ","] | None = option(
        "Decimal mark.", default=None, shown="found from the cells"
    )
    encoding: str | None = option("Encoding of a text file.", default=None, shown="UTF-8, or found")
    missing: tuple[str, ...] = option(
        "Value that means a missing value, in all columns or in one: -1, ?, or COLUMN=-1; "
        "repeatable.",
        default=(),
        metavar="[COLUMN=]VALUE",
        parse=_texts,
    )
    date_formats: Mapping[str, str] = option(
        "Format of a column of dates, such as 'day=%d.%m.%Y'; repeatable.",
        default_factory=dict[str, str],
        flag="--date-format",
        metavar="NAME=FORMAT",
        parse=_pairs,
    )


@options(DATA)
class TargetOptions(ReadingSettings):
    """Which columns are tasks."""

    targets: tuple[str, ...] = option(
        "Columns to predict: --targets A,B or --target A --target B.",
        default=(),
        flag=("--targets", "--target"),
        parse=_columns,
    )
    kinds: Mapping[str, str] = option(
        "Override a target's inferred type: regression, binary, classes, count, ordinal (numbers "
        "in order) or ordinal:LOW,...,HIGH, set (labels such as a;b in one cell: one task per "
        "label), censored:EVENT (times, and the column that says whether the event happened), "
        "vector:COLUMN,COLUMN (one task of several columns, under a new name).",
        default_factory=dict[str, str],
        flag="--kind",
        metavar="NAME=KIND",
        parse=_kinds,
    )
    transforms: Mapping[str, Literal["log"]] = option(
        "Predict the logarithm of a target above 0: NAME=log. Metrics are in the target's units.",
        default_factory=dict[str, Literal["log"]],
        flag="--transform",
        metavar="NAME=log",
        parse=_logarithms,
    )


@options(DATA)
class ColumnOptions:
    """Columns that are neither inputs nor targets."""

    task_column: str | None = option("Long table: column with the task of each row.", default=None)
    exclude: tuple[str, ...] = option("Columns to leave out: A,B; repeatable.", default=())


@options(DATA)
class DataOptions(ColumnOptions, TargetOptions):
    """The table, its tasks and its splits."""

    time_column: str | None = option(
        "Use the latest rows by this column as test rows.", default=None
    )
    split_column: str | None = option(
        "Use the rows with 'test' in this column as test rows.", default=None
    )
    group_column: str | None = option(
        "Keep rows with the same value together in every split (a patient, a user).", default=None
    )
    sample_weight: str | None = option(
        "Weigh rows by this column in training and in all scores.", default=None
    )
    metrics: Mapping[str, str] = option(
        "Metric of a task by scikit-learn's name, such as average_precision, log_loss, "
        "mean_absolute_error or quantile_loss:0.9.",
        default_factory=dict[str, str],
        flag="--metric",
        metavar="NAME=METRIC",
        parse=_pairs,
    )
    judge_by: Literal["loss", "metric"] = option(
        "What decides and judges: the losses, or the metrics.", default="loss"
    )
    task_weights: Mapping[str, float] = option(
        "Weight of a task in groupings, overall verdict and advice; 1 if not given.",
        default_factory=dict[str, float],
        flag="--task-weight",
        metavar="NAME=WEIGHT",
        parse=_numbers_by_name,
    )
    class_weight: Literal["balanced"] | None = option(
        "Give the rows of each class the same total weight in the loss.", default=None
    )
    max_rows: int | None = option(
        "Largest number of rows to use, drawn at random.",
        default=None,
        shown="12 million cells of the table",
        least=20,
    )
    test_share: float = option("Share of rows in the test split.", default=0.25, above=0, below=1)
    validation_share: float = option(
        "Share of the other rows used for early stopping.", default=0.2, above=0, below=1
    )


@options(NETWORK)
class TrunkOptions:
    """The size of the networks."""

    width: int | None = option("Width of the trunk's layers.", default=None, least=1)
    depth: int | None = option("Number of layers of the trunk.", default=None, least=1)


@options(NETWORK)
class DeviceOptions:
    """On which device."""

    device: str | None = option(
        "Where networks are trained: auto, cpu, cuda, cuda:1 or mps.",
        default=None,
        shown="auto: a CUDA GPU if there is one",
    )


@options(NETWORK)
class NetworkOptions(DeviceOptions, TrunkOptions):
    """The networks and their training."""

    trunk: str = option(
        "Kind of trunk: mlp, residual, ft-transformer (an extra), or a module class of your own "
        "as MODULE:CLASS, which is called with the number of inputs, the width and the depth.",
        default="mlp",
    )
    epochs: int | None = option("Maximum number of epochs.", default=None, least=1)
    batch_size: int | None = option("Batch size.", default=None, least=1)
    learning_rate: float | None = option("Learning rate of Adam.", default=None, above=0)
    patience: int | None = option(
        "Epochs without improvement before training stops.", default=None, least=1
    )
    average_weights: bool = option(
        "Also judge an exponential average of the weights over about one epoch on the validation "
        "rows after each epoch, and keep the better of the two.",
        default=False,
    )


@options(NETWORK)
class ObjectiveOptions:
    """How the losses of several tasks become one step."""

    objective: Literal[
        "sum", "weighted", "uncertainty", "dwa", "gradnorm", "minimax", "pcgrad", "mgda", "upgrad"
    ] = option(
        "How the tasks' losses become one step. All but 'sum' and 'weighted' train networks one by "
        "one, which takes longer.",
        default="sum",
    )
    objective_settings: Mapping[str, float] = option(
        "A setting of the objective (alpha=0.5 of gradnorm, temperature=2 of dwa), or the weight "
        "of a task's loss with --objective weighted.",
        default_factory=dict[str, float],
        flag="--objective-setting",
        metavar="NAME=VALUE",
        parse=_numbers_by_name,
    )
    task_sampling: Literal["joint", "uniform", "proportional", "temperature"] = option(
        "All tasks in every batch (joint), or one task per batch: uniform, proportional to its "
        "rows, or in between (temperature).",
        default="joint",
    )
    sampling_temperature: float = option(
        "Temperature of --task-sampling temperature: 1 is proportional, large is uniform.",
        default=2.0,
        above=0,
    )


@options(AUDIT)
class SeedOptions:
    """What repeats a run."""

    seed: int = option("Random seed.", default=0, least=0, below=2**32)


@options(RECORDING)
class RecordSettings(SeedOptions, ObjectiveOptions, NetworkOptions, DataOptions):
    """What decides the recorded run; a folder holds one such run."""

    measure_every: int | None = option(
        "Measure affinity every N training steps; by default 10, above 100 tasks more rarely.",
        default=None,
        least=1,
    )
    runs: int = option(
        "Number of runs to record, each with its own seed; several show how reproducible "
        "affinities are.",
        default=1,
        least=1,
    )
    known_share: Annotated[float | None, Parameter(parse=False)] = None
    """Share of the rows, by time, that a window of a repeated hold-out may use."""


@options(RECORDING)
class EstimateSettings:
    """What decides the affinities."""

    estimator: str = option(
        "Affinity estimator; `affinity problems` lists them.", default="inter-task affinity"
    )


@options(AUDIT)
class ToleranceSettings:
    """What counts as equal."""

    tolerance: float = option(
        "Differences in mean relative gain up to this count as equal.",
        default=0.01,
        above=0,
        below=1,
    )


@options(GROUPING)
class GroupSettings(ToleranceSettings):
    """What decides the plan."""

    budget: int | None = option(
        "Maximum number of networks.",
        default=None,
        shown="any number; with --method affinity a third of the tasks",
        least=1,
    )
    overlap: bool = option(
        "Let a task help to train networks that do not serve it.",
        default=False,
        off="--disjoint",
        shown="disjoint",
    )
    sharing: (
        Literal[
            "hard",
            "auto",
            "soft",
            "mmoe",
            "ple",
            "cross-stitch",
            "separate",
            "conditioning",
            "branched",
            "attention",
            "relationship",
            "perceiver",
        ]
        | None
    ) = option(
        "How the tasks of a network share; 'auto' trains each network in seven ways and keeps the "
        "best. `affinity problems` describes them.",
        default=None,
        shown="hard, or another way that is better, as far as an audit has time to try them",
    )
    sharing_settings: Mapping[str, float | int | str] = option(
        "A setting of --sharing, such as conditioning=input, n_experts=8 or strength=0.3; "
        "repeatable. `affinity problems` lists them.",
        default_factory=dict[str, float | int | str],
        flag="--sharing-setting",
        metavar="NAME=VALUE",
        parse=_values_by_name,
    )
    method: Method | None = option(
        "How to group: 'race' trains candidate groups, 'surrogate' predicts the gains of all "
        "groups with one linearized network (up to 9 tasks), 'affinity' trains nothing.",
        default=None,
        shown="the first that fits time and number of tasks",
    )
    race_minutes: float = option(
        "Length of the race: the trainings that take this long on a usual processor core, by "
        "counted work (N minutes, 30s, 10m, 1h). The first round is always trained.",
        default=3.0,
        metavar="DURATION",
        parse=_duration("m"),
        above=0,
    )


@options(AUDIT)
class RetrainSettings(ToleranceSettings):
    """What decides the audit of a plan."""

    replicates: int | None = option(
        "Number of replicates (new data split and seed each).",
        default=None,
        shown="10, 5 from 21 tasks on, or fewer to keep the time limit",
        least=1,
    )
    minutes: float | None = option(
        "Add replicates until every verdict is decided, for up to N minutes (or 30s, 10m, 1h).",
        default=None,
        metavar="DURATION",
        parse=_duration("m"),
        above=0,
    )
    max_replicates: int | None = option(
        "Add replicates until every verdict is decided, up to N.",
        default=None,
        shown="40, with --minutes",
        least=1,
    )
    baselines: Literal["all", "minimal"] | None = option(
        "'minimal' leaves out the random grouping and the baselines at equal parameters.",
        default=None,
        shown="all, if they fit the time limit",
    )
    reference: bool = option(
        "Compare with gradient boosting per task, for up to a minute or as long as the time limit "
        "still allows; --no-reference leaves it out.",
        default=True,
        off="--no-reference",
    )


@options(AUDIT)
class RunSettings(RetrainSettings, GroupSettings, EstimateSettings, RecordSettings):
    """All that decides an audit's result; run.json keeps it.

    Options of `RecordSettings` belong to the folder; with other values of the later ones, the
    stages that they decide run again.
    """

    plan: str | None = option(
        "Audit this plan: a YAML file, 'separate' or 'all-in-one'.",
        default=None,
        shown="the plan that is found",
    )
    time_limit: float | None = option(
        "Time of the whole audit, without --diagnose: N minutes, 30s, 10m, 1h. To keep it, the "
        "audit uses fewer rows, epochs, trainings, replicates or baselines, and prints what it "
        "left out.",
        default=None,
        shown="10; more if --minutes or --race-minutes ask for more",
        metavar="DURATION",
        parse=_duration("m"),
        above=0,
    )


@options(AUDIT)
class TrainerOptions:
    """How networks are trained and what is kept of them."""

    save_models: bool = option(
        "Save the plan's trained networks for `affinity predict`.", default=False
    )
    backend: Literal["loky", "ray", "dask"] | None = option(
        "Train each network by itself: in processes (loky), or on a Ray or Dask cluster.",
        default=None,
        shown="many networks at once",
    )


@options(DIAGNOSIS)
class QuickOptions:
    """How thorough a diagnosis is."""

    quick: bool = option(
        "Diagnose with the cheapest interventions: twice the width, half of the rows, no GradNorm "
        "and PCGrad; about two thirds of the work.",
        default=False,
    )


@options(AUDIT)
class AuditOptions(
    FileOptions,
    VerdictOptions,
    JsonOptions,
    QuietOptions,
    QuickOptions,
    TrainerOptions,
    RunSettings,
):
    """Of `affinity audit`."""

    test_splits: int | None = option(
        "Repeat the whole audit on N different test splits.", default=None, least=2
    )
    diagnose: bool = option(
        "Also find out why one network for all tasks harms; takes several times as long as the "
        "audit. `affinity diagnose RUN` does it later.",
        default=False,
        group=DIAGNOSIS,
    )


@options(AUDIT)
class CompareObjectivesOptions(
    FileOptions, JsonOptions, QuietOptions, ToleranceSettings, RecordSettings
):
    """Of `affinity compare-objectives`."""

    source: str = argument(
        "Folder of a run, or a table, 'digits' or 'planted' as for `affinity audit`."
    )
    plan: str | None = option(
        "Train this plan: a YAML file, 'separate' or 'all-in-one'.",
        default=None,
        shown="all-in-one",
    )
    replicates: int | None = option(
        "Number of replicates (new data split and seed each).", default=None, shown="5", least=1
    )
    objectives: tuple[str, ...] = option(
        "Objectives to compare: sum, weighted (by 1 / loss scale), uncertainty, dwa, gradnorm, "
        "minimax, pcgrad, mgda, upgrad.",
        default=(),
        shown="all",
        parse=_listed,
    )


@options()
class RecordOptions(FileOptions, QuietOptions, RecordSettings):
    """Of `affinity record`."""


@options(ARGUMENTS)
class StageOptions:
    """Of commands that continue a run. Settings that are not given are those of the run."""

    run: Path = argument("Folder of a run.")


@options(ARGUMENTS)
class TraceOptions:
    """Of commands that take a run or a trace."""

    run: Path = argument("Folder of a run, or a trace: the file that Trace.save wrote.")


@options()
class EstimateOptions(JsonOptions, QuietOptions, EstimateSettings, TraceOptions):
    """Of `affinity estimate`."""

    method: str | None = option(
        "The estimator; the same as --estimator.", default=None, group=RECORDING
    )
    out: Path | None = option(
        "Of a trace: also write the matrix to this file (.csv or .safetensors).",
        default=None,
        group=OUTPUT,
    )


@options()
class GroupOptions(JsonOptions, QuietOptions, GroupSettings, StageOptions):
    """Of `affinity group`."""


@options(AUDIT)
class RetrainOptions(
    VerdictOptions, JsonOptions, QuietOptions, TrainerOptions, RetrainSettings, StageOptions
):
    """Of `affinity retrain`."""

    plan: str | None = option(
        "Train this plan: a YAML file, 'separate' or 'all-in-one'.",
        default=None,
        shown="the run's plan.yaml",
    )


@options(DIAGNOSIS)
class ExplainedPlan:
    """Of commands that diagnose."""

    plan: str = option(
        "Explain this plan: a YAML file, 'separate' or 'all-in-one'.", default="all-in-one"
    )


@options(DIAGNOSIS)
class DiagnoseOptions(JsonOptions, QuietOptions, QuickOptions, ExplainedPlan, StageOptions):
    """Of `affinity diagnose`."""

    replicates: int = option(
        "Number of replicates (new data split and seed each).", default=6, least=1
    )


@options(ARGUMENTS)
class ReportArguments(TraceOptions):
    """What to report."""

    run_b: Path | None = argument("Another run: write comparison.html instead.", default=None)


@options(OUTPUT)
class PngOptions:
    """Of commands that draw figures."""

    png: bool = option("Export the figures as PNG.", default=False)


@options(OUTPUT)
class ReportOptions(QuietOptions, PngOptions, ReportArguments):
    """Of `affinity report`."""

    pdf: bool = option("Export the figures as PDF.", default=False)
    svg: bool = option("Export the figures as SVG.", default=False)
    out: Path | None = option(
        "Of a trace: the page's file.", default=None, shown="report.html next to the trace"
    )


@options(ARGUMENTS)
class CompareArguments:
    """What to compare."""

    run_a: Path = argument("Folder of a run.")
    run_b: Path = argument("Folder of another run.")


@options()
class CompareOptions(JsonOptions, OutputOptions, CompareArguments):
    """Of `affinity compare`."""


@options(ARGUMENTS)
class PredictArguments(StageOptions):
    """What to predict."""

    table: Path = argument("Rows to predict: a table, read in the formats of training.")


@options(OUTPUT)
class PredictOptions(OutputOptions, PredictArguments):
    """Of `affinity predict`."""

    out: Path | None = option("CSV file to write.", default=None, shown="standard output")


@options(TRANSFER)
class TransferSettings:
    """What decides the results of a transfer, besides data and networks."""

    replicates: int = option(
        "Number of replicates (new data split and seed each).", default=5, least=1
    )
    recipe: str = option(
        "How targets are tuned; `affinity problems` lists the recipes. 'best' measures all, the "
        "main ones also with other learning rates, epochs and weight decay, and chooses one per "
        "pair by cross-validation.",
        default="full fine-tuning",
    )
    architectures: tuple[str, ...] = option(
        "Also try trunks of these widths and depths, for sources and targets: 32x1,128x2,"
        "residual:64x3. Each pair gets the best, by cross-validation.",
        default=(),
        metavar="[KIND:]WIDTHxDEPTH",
        parse=_listed,
    )
    tuning_plan: str | None = option("Tune by this edited plan: a YAML file.", default=None)
    sources: tuple[str, ...] = option(
        "Source: a task, 'all others' or 'own inputs'; repeatable.",
        default=(),
        flag="--from",
        shown="all",
    )
    onto: tuple[str, ...] = option("Target task; repeatable.", default=(), flag="--to", shown="all")
    group: Mapping[str, str] = option(
        "Source made of several tasks; repeatable.",
        default_factory=dict[str, str],
        metavar="NAME=TASK,TASK",
        parse=_pairs,
    )
    weights: Mapping[str, str] = option(
        "Source whose trunk is in a safetensors file; repeatable.",
        default_factory=dict[str, str],
        metavar="NAME=FILE",
        parse=_pairs,
    )
    rows: tuple[int, ...] = option(
        "Also train each target's best source with this many target rows: 25,50,100.",
        default=(),
        least=2,
        parse=_numbers,
    )
    joint: bool = option(
        "Also train each pair jointly, and advise joint, sequential or neither.", default=False
    )
    distortion: bool = option(
        "Measure how each recipe changes the representation and the losses, on familiar and on "
        "shifted rows.",
        default=False,
    )


@options(OUTPUT)
class TransferOptions(
    FileOptions,
    JsonOptions,
    QuietOptions,
    PngOptions,
    TransferSettings,
    SeedOptions,
    NetworkOptions,
    DataOptions,
):
    """Of `affinity transfer`."""

    plan_only: bool = option(
        "Only write the recipe's phases -> tuning.yaml, to be edited.",
        default=False,
        group=TRANSFER,
    )


@options(EPISODES)
class FewShotOptions(
    JsonOptions,
    QuietOptions,
    SeedOptions,
    DeviceOptions,
    TrunkOptions,
    ColumnOptions,
    ReadingSettings,
):
    """Of `affinity fewshot`; a value of None is chosen from the data."""

    source: str = argument(
        "Table (CSV, Parquet, Feather, JSON, Excel; a folder of Parquet files; '-': standard "
        "input), 'digits' or 'sines'."
    )
    target: str | None = option(
        "Column of classes, or what every task predicts.", default=None, group=DATA
    )
    test_classes: tuple[str, ...] = option(
        "Classes, or with --task-column tasks, used only in the meta-test, separated by commas.",
        default=(),
        group=DATA,
        shown="a third of the classes, a fifth of the tasks",
        parse=_listed,
    )
    ways: int | None = option("Classes per task.", default=None, shown="5", least=2)
    shots: tuple[int, ...] = option(
        "Rows per class to adapt on; several separated by commas.",
        default=(1, 5),
        shown="1,5",
        least=1,
        parse=_numbers,
    )
    queries: int | None = option("Rows per class to evaluate on.", default=None, least=1)
    steps: tuple[int, ...] = option(
        "Evaluate after these numbers of gradient steps.",
        default=(1, 5, 10),
        shown="1,5,10",
        least=1,
        parse=_numbers,
    )
    tasks: int = option("Number of meta-test tasks.", default=200, least=2)
    replicates: int = option(
        "Number of meta-trainings; with several, intervals include their variation.",
        default=1,
        least=1,
    )
    methods: tuple[str, ...] = option(
        "Methods, separated by commas; `affinity problems` lists them.",
        default=(),
        shown="all that fit",
        parse=_listed,
    )
    iterations: int = option("Batches of meta-training.", default=500, group=NETWORK, least=1)
    batch: int | None = option(
        "Tasks per batch.", default=None, group=NETWORK, shown="32, or all tasks if fewer", least=1
    )
    inner_rate: float | None = option(
        "Learning rate of the inner loop.", default=None, group=NETWORK, above=0
    )
    out: Path | None = option(
        "Folder for fewshot.html, fewshot.json, fewshot.csv and figures.",
        default=None,
        group=OUTPUT,
    )


@options(ARGUMENTS)
class StudyFolder:
    """Which study."""

    folder: Path = argument("Folder of the study.")


@options(ARGUMENTS)
class JobArguments(StudyFolder):
    """Which of its jobs."""

    job: str = argument("The job's id, as `affinity study ask` printed it.")


@options(STUDY)
class CreateStudyOptions(JsonOptions, OutputOptions, StudyFolder):
    """Of `affinity study create`."""

    tasks: Mapping[str, str] = option(
        "Tasks, each with whether its score is to be maximized or minimized: "
        "--tasks A:maximize,B:minimize. Names with commas: --task NAME:DIRECTION for each task.",
        flag=("--tasks", "--task"),
        metavar="NAME:DIRECTION",
        parse=_scores,
    )
    budget: int = option("Maximum number of networks.", least=1)
    trainings: int = option(
        "Number of trainings that may be used to decide. Those of audits are not counted.", least=2
    )
    units: Mapping[str, float] = option(
        "Difference of a task's score that matters, such as click=0.001; repeatable.",
        default_factory=dict[str, float],
        flag="--unit",
        metavar="NAME=NUMBER",
        shown="0.01, of losses relatively",
        parse=_numbers_by_name,
    )
    weights: Mapping[str, float] = option(
        "Weight of a task in means over tasks; repeatable.",
        default_factory=dict[str, float],
        flag="--weight",
        metavar="NAME=NUMBER",
        shown="1",
        parse=_numbers_by_name,
    )
    prior: tuple[Path, ...] = option(
        "Affinities to start from: a trace or matrix (.safetensors), or affinity.csv; repeatable.",
        default=(),
    )
    seed: int = option("First of the seeds that trainings get.", default=0, least=0, below=2**32)
    merging: tuple[str, ...] = option(
        "Ways to merge networks of single tasks that are compared with joint training: averaged, "
        "added. The command gets them as {sharing}.",
        default=(),
        parse=_listed,
    )


@options(TRAINING)
class WorkerOptions:
    """How the command that trains is run."""

    workers: int | None = option(
        "Number of trainings at a time.", default=None, shown="1, or the number of GPUs", least=1
    )
    gpus: tuple[str, ...] = option(
        "GPUs, separated by commas: each training gets one as CUDA_VISIBLE_DEVICES.",
        default=(),
        parse=_listed,
    )
    timeout: float | None = option(
        "End a training after this time: 90s, 30m, 6h.",
        default=None,
        metavar="DURATION",
        parse=_duration("s"),
    )
    retries: int = option(
        "How often a training that failed is run again, with the same seed.", default=1, least=0
    )


@options(STUDY)
class RunStudyOptions(JsonOptions, QuietOptions, WorkerOptions, StudyFolder):
    """Of `affinity study run`."""

    command: str = option(
        "Command that trains once. It is split into arguments without a shell; {tasks} becomes one "
        "argument per task, {seed} and {out} one each. It writes a score per task as JSON to "
        '{out}: {"click": 0.71} or {"validation": {...}, "test": {...}}.',
        group=TRAINING,
    )
    trainings: int | None = option(
        "Allow more trainings than before.", default=None, shown="as created", least=2
    )


@options(STUDY)
class AskOptions(JsonOptions, OutputOptions, StudyFolder):
    """Of `affinity study ask`."""

    n: int = option("Number of jobs.", default=1, flag="-n", least=1)


@options(ARGUMENTS)
class TellArguments(JobArguments):
    """What to record."""

    scores: Path = argument("JSON file with the scores, as `affinity study run` describes it.")


@options(STUDY)
class TellOptions(OutputOptions, TellArguments):
    """Of `affinity study tell`."""

    seconds: float | None = option("Time that the training took.", default=None)


@options(ARGUMENTS)
class FailArguments(JobArguments):
    """What to record."""

    reason: str = argument("Why it failed.")


@options()
class FailOptions(OutputOptions, FailArguments):
    """Of `affinity study fail`."""


@options()
class RetryOptions(OutputOptions, JobArguments):
    """Of `affinity study retry`."""


@options(ARGUMENTS)
class AddArguments(StudyFolder):
    """What to add."""

    runs: Path = argument(
        "Table (CSV or Parquet) with the columns run, task, score, and seed where it is known."
    )


@options()
class AddOptions(OutputOptions, AddArguments):
    """Of `affinity study add`."""


@options()
class StatusOptions(JsonOptions, OutputOptions, StudyFolder):
    """Of `affinity study status`."""


@options(TRAINING)
class AppliedSettings:
    """What your trainings can change, if no command runs them."""

    settings: tuple[str, ...] = option(
        "Without --command: settings that your trainings can apply, separated by commas, such as "
        "width,length,rows; `affinity study ask` shows them with each job.",
        default=(),
        parse=_listed,
    )


@options(AUDIT)
class AuditStudyOptions(
    VerdictOptions, JsonOptions, QuietOptions, WorkerOptions, AppliedSettings, StudyFolder
):
    """Of `affinity study audit`."""

    command: str | None = option(
        "Command that trains once, as for `affinity study run`. Without it the trainings wait for "
        "`affinity study ask`, and the same call makes the audit when all have scores.",
        default=None,
        group=TRAINING,
    )
    replicates: int = option("Number of replicates (new seed each).", default=5, least=1)
    plan: str | None = option(
        "Judge this plan: a YAML file, 'separate' or 'all-in-one'.",
        default=None,
        shown="the study's plan",
    )


@options(AUDIT)
class DiagnoseStudyOptions(
    JsonOptions,
    QuietOptions,
    QuickOptions,
    WorkerOptions,
    AppliedSettings,
    ExplainedPlan,
    StudyFolder,
):
    """Of `affinity study diagnose`."""

    command: str | None = option(
        "Command that trains once, as for `affinity study run`. Its placeholders {width}, "
        "{length}, {rows} and {sharing} say which changes can be tried. Without it the trainings "
        "wait for `affinity study ask`, and the same call plans those that follow from them, until "
        "it makes the diagnosis.",
        default=None,
        group=TRAINING,
    )
    replicates: int = option("Number of replicates (new seed each).", default=6, least=1)


def select(cls: type[T], options: object) -> T:
    """The options that `cls` declares, taken from an object that may hold more or fewer."""
    known = vars(options)
    names = [entry.name for entry in fields(cls) if entry.name in known]  # pyright: ignore[reportArgumentType]
    return cls(**{name: known[name] for name in names})


def inherited_settings(options: type) -> list[str]:
    """The settings of a run that these options inherit, rather than declare for themselves."""
    declared = {entry.name: entry for entry in fields(options)}
    return [entry.name for entry in fields(RunSettings) if declared.get(entry.name) is entry]
