"""Which tasks should share a network: affinity, groupings, audited gains.

The pipeline::

    problem = affinity.load_table("table.csv", targets=[...])
    trace = affinity.record(problem, every=10, seed=0)
    matrix = affinity.InterTaskAffinity()(trace)
    plan = affinity.Race(trainings=16)(problem, [matrix]).to_plan()
    audit = affinity.retrain(plan, problem, replicates=5)
    affinity.write_report(audit, "run/report.html")

A loop of one's own::

    recorder = affinity.Recorder(shared=model.trunk, every=10)
    recorder.observe(losses, closure=lambda: compute_losses(model, batch))
    trace = recorder.trace()

Names are imported when they are first used, so that `affinity --help` does not wait for torch.
"""

import gc
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from affinity.audit import Audit, Diagnosis, Race, RaceResult, diagnose, retrain
    from affinity.errors import AffinityWarning, DivergenceError, InputError
    from affinity.estimates import (
        ESTIMATORS,
        AffinityMatrix,
        CalibratedGains,
        GradientCosine,
        InterTaskAffinity,
        linearize,
    )
    from affinity.fewshot import FewShotProblem
    from affinity.grouping import Grouping, Network, solve
    from affinity.problems import DataSource, Problem, load_digits, load_table, record
    from affinity.recommendation import Plan, recommend
    from affinity.recording import Recorder, Trace
    from affinity.report import write_report
    from affinity.statistics import Gains, NegativeTransferTest, Verdict
    from affinity.storage import load, save
    from affinity.study import Study
    from affinity.tasks import Examples, Replicate, Score, Task
    from affinity.training import Scores, TrainingSettings

_ROOMS = {
    "audit": ("Audit", "Diagnosis", "Race", "RaceResult", "diagnose", "retrain"),
    "errors": ("AffinityWarning", "DivergenceError", "InputError"),
    "estimates": (
        "ESTIMATORS",
        "AffinityMatrix",
        "CalibratedGains",
        "GradientCosine",
        "InterTaskAffinity",
        "linearize",
    ),
    "fewshot": ("FewShotProblem",),
    "grouping": ("Grouping", "Network", "solve"),
    "reading": (),
    "problems": ("DataSource", "Problem", "load_digits", "load_table", "record"),
    "recommendation": ("Plan", "recommend"),
    "recording": ("Recorder", "Trace"),
    "study": ("Study",),
    "tasks": ("Examples", "Replicate", "Score", "Task"),
    "training": ("Scores", "TrainingSettings"),
    "statistics": ("Gains", "NegativeTransferTest", "Verdict"),
    "ranking": (),
    "sharing": (),
    "transfer": (),
    "report": ("write_report",),
    "storage": ("load", "save"),
    "integrations": (),
}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}

__all__ = [
    "ESTIMATORS",
    "AffinityMatrix",
    "AffinityWarning",
    "Audit",
    "CalibratedGains",
    "DataSource",
    "Diagnosis",
    "DivergenceError",
    "Examples",
    "FewShotProblem",
    "Gains",
    "GradientCosine",
    "Grouping",
    "InputError",
    "InterTaskAffinity",
    "NegativeTransferTest",
    "Network",
    "Plan",
    "Problem",
    "Race",
    "RaceResult",
    "Recorder",
    "Replicate",
    "Score",
    "Scores",
    "Study",
    "Task",
    "Trace",
    "TrainingSettings",
    "Verdict",
    "diagnose",
    "linearize",
    "load",
    "load_digits",
    "load_table",
    "recommend",
    "record",
    "retrain",
    "save",
    "solve",
    "write_report",
]


def __getattr__(name: str) -> object:
    if name not in _ROOMS and name not in _ROOM_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    is_enabled = gc.isenabled()
    gc.disable()  # collecting garbage among torch's objects would be a sixth of the import
    try:
        room = import_module(f"{__name__}.{_ROOM_OF.get(name, name)}")
    finally:
        if is_enabled:
            gc.enable()
    if name in _ROOMS:
        return room
    globals()[name] = value = getattr(room, name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_ROOMS})
