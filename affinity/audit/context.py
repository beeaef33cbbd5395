"""The context of an audit: its origin, its settings, and its limitations."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from affinity.estimates import LabelOverlap
from affinity.problems import DataSource, LabelCounts
from affinity.reading import DataNote
from affinity.recording import RecordingCost

from .limitations import Limitation
from .race_result import Candidate, DetectableGain, RaceFinding


@dataclass(frozen=True)
class AuditContext:
    """How an audit was made; unknown fields are None or empty.

    Args:
        command: The command that made it.
        versions: Version of each library.
        source: Where the data came from.
        seed: Random seed of the run.
        seeds: Seeds of the replicates, if an external trainer was used.
        intervals: The variation that intervals cover: "replicates", or "test rows and replicates".
        every: Number of steps between two measurements of the recorded run.
        budget: Largest number of networks.
        width: Width of the trunks.
        settings: How networks were trained.
        seconds: Duration of each stage before the audit, in seconds.
        recording: Overhead of recording the run.
        race: The candidates of the race that chose the plan, the plan first.
        race_finding: What that race found.
        detectable: The smallest gains that its trainings, and more of them, find.
        rows: Number of development rows and of test rows.
        labels: How many labels of each task each split holds.
        overlap: How many rows tasks share.
        notes: Notes on the data.
        limits: Limitations of the audit.
        enough_minutes: If the time limit shortened trainings, one that allows the usual number of
            epochs.
    """

    command: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict[str, str])
    source: DataSource | None = None
    seed: int | None = None
    seeds: tuple[int, ...] = ()
    intervals: str | None = None
    every: int | None = None
    budget: int | None = None
    width: int | None = None
    settings: Mapping[str, bool | int | float | str] = field(
        default_factory=dict[str, bool | int | float | str]
    )
    seconds: Mapping[str, float] = field(default_factory=dict[str, float])
    recording: RecordingCost | None = None
    race: tuple[Candidate, ...] = ()
    race_finding: RaceFinding | None = None
    detectable: tuple[DetectableGain, ...] = ()
    rows: Mapping[str, int] = field(default_factory=dict[str, int])
    labels: tuple[LabelCounts, ...] = ()
    overlap: LabelOverlap | None = None
    notes: tuple[DataNote, ...] = ()
    limits: tuple[Limitation, ...] = ()
    enough_minutes: float | None = None
