"""Source: the problem that a command's data options describe."""

from dataclasses import replace
from pathlib import Path

from affinity.errors import InputError
from affinity.problems import Problem, load_digits, load_table, planted
from affinity.sharing import find_trunk
from affinity.tasks import NamedMetric
from affinity.training import TrainingSettings, make_objective, make_sampling

from .early_checks import check_source, check_tasks, known_tasks, reading_options
from .options import RecordSettings

MOST_CELLS = 12_000_000  # used by default; an audit of them takes less than 3 GB
BUILT_IN = {"digits": load_digits, "planted": planted}  # problems that need no file


def read_problem(settings: RecordSettings) -> Problem:
    """Read the table, or make the built-in problem, with these settings."""
    objective = make_objective(settings.objective, settings.objective_settings)
    check_tasks(settings)
    if (tasks := known_tasks(settings)) is not None:
        objective.check_tasks(tasks)
    for task, metric in settings.metrics.items():
        NamedMetric.check_name(metric, task)
    names = ("epochs", "batch_size", "learning_rate", "patience", "average_weights", "device")
    chosen = {name: value for name in names if (value := getattr(settings, name)) is not None}
    TrainingSettings(**chosen)  # refuses what is out of range before a large table is read
    find_trunk(settings.trunk)
    problem = _read(settings)
    if settings.trunk != "mlp":
        problem = problem.with_trunk(settings.trunk)
    objective.check_tasks(problem.names)
    sampling = make_sampling(settings.task_sampling, settings.sampling_temperature)
    problem = problem.with_settings(
        replace(problem.settings, **chosen, objective=objective, sampling=sampling)
    )
    return problem.judged(
        metrics=settings.metrics,
        by=settings.judge_by,
        weights=settings.task_weights,
        class_weight=settings.class_weight,
    )


def _read(settings: RecordSettings) -> Problem:
    size = {
        name: value for name in ("width", "depth") if (value := getattr(settings, name)) is not None
    }
    if settings.source in BUILT_IN and not Path(settings.source).exists():
        make = BUILT_IN[settings.source]
        return make(test_share=settings.test_share, draw=settings.seed, **size)
    check_source(settings.source)
    is_long = settings.task_column is not None
    if is_long and len(settings.targets) != 1:
        raise InputError(
            f"Expected exactly one --target with --task-column {settings.task_column}, but got "
            f"{list(settings.targets) or 'none'}.",
            "one-target-expected",
        )
    return load_table(
        settings.source,
        targets=None if is_long else settings.targets,
        task_column=settings.task_column,
        target=settings.targets[0] if is_long else None,
        kinds={**settings.kinds, **settings.transforms},
        exclude=settings.exclude,
        reading=reading_options(settings),
        time_column=settings.time_column,
        split_column=settings.split_column,
        groups=settings.group_column,
        sample_weight=settings.sample_weight,
        known=settings.known_share or 1.0,
        test_share=settings.test_share,
        validation_share=settings.validation_share,
        rows=settings.max_rows,
        cells=MOST_CELLS if settings.max_rows is None else None,
        seed=settings.seed,
        **size,
    )
