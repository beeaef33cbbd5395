"""Group scores: the predicted or measured gain of each task in each candidate network."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf, isinf, isnan

import pandas as pd

from affinity.errors import InputError, check_has_columns, check_number
from affinity.tasks import check_names


@dataclass(frozen=True)
class CandidateGroup:
    """A network that could be trained, and the score of each task that it could serve.

    Args:
        scores: One score per task; NaN where the task is trained but its score is unknown, so that
            the network cannot serve it.
        cost: In the unit of the budget's cost.
        variant: Distinguishes networks of the same tasks, such as ``"half-size"``.

    Example:
        >>> sorted(CandidateGroup({"depth": 0.5, "edges": float("nan")}).trained)
        ['depth', 'edges']
    """

    scores: Mapping[str, float]
    cost: float = 1.0
    variant: str | None = None

    def __post_init__(self) -> None:
        if not self.scores:
            raise InputError(
                "Expected a candidate network to have tasks, but got none.", "no-tasks"
            )
        if infinite := sorted(task for task, score in self.scores.items() if isinf(score)):
            raise InputError(
                f"Expected finite scores in the network of {sorted(self.scores)}, but those of "
                f"{infinite} are infinite.",
                "infinite-score",
            )
        network = f"the cost of the network of {sorted(self.scores)}"
        check_number(network, self.cost, "invalid-cost", least=0, below=inf)

    @property
    def trained(self) -> frozenset[str]:
        """The tasks it trains."""
        return frozenset(self.scores)


@dataclass(frozen=True, eq=False)
class GroupScores:
    """Candidate networks with the scores of their tasks. Any group of tasks may be missing.

    Args:
        candidates: Several may train the same tasks at different costs.

    Raises:
        InputError: If a candidate trains an unknown task, or no candidate can serve a task.

    Example:
        >>> alone = [CandidateGroup({name: 0.0}, cost=0.5) for name in ("depth", "edges")]
        >>> both = CandidateGroup({"depth": 0.5, "edges": -0.25})
        >>> len(GroupScores(("depth", "edges"), (*alone, both)).candidates)
        3
    """

    tasks: tuple[str, ...]
    candidates: tuple[CandidateGroup, ...]

    def __post_init__(self) -> None:
        if not check_names(self.tasks):
            raise InputError(
                "Expected group scores of at least one task, but got none.", "no-tasks"
            )
        known = set(self.tasks)
        for candidate in self.candidates:
            if unknown := sorted(candidate.trained - known):
                raise InputError(
                    f"Expected candidates of the tasks {list(self.tasks)}, but one trains "
                    f"{sorted(candidate.trained)} with {unknown} among them.",
                    "unknown-task",
                )
        served = {
            task
            for candidate in self.candidates
            for task, score in candidate.scores.items()
            if not isnan(score)
        }
        if unserved := [task for task in self.tasks if task not in served]:
            raise InputError(
                f"Expected a candidate network with a score for every task, but none can serve "
                f"{unserved}. Add candidates, a task alone with score 0 for example.",
                "unserved-task",
            )

    @classmethod
    def from_frame(cls, frame: pd.DataFrame) -> "GroupScores":
        """Read one row for each task of each candidate.

        The columns are candidate, task and score; cost and variant may be added, the same for all
        rows of a candidate.
        """
        check_has_columns(frame.columns, ["candidate", "task", "score"])
        candidates: list[CandidateGroup] = []
        for name, rows in frame.groupby("candidate", sort=False):
            if rows["task"].duplicated().any():
                raise InputError(
                    f"Expected each task once in candidate {name!r}.", "duplicate-task"
                )
            for column in {"cost", "variant"} & set(frame.columns):
                if rows[column].nunique(dropna=False) > 1:
                    raise InputError(
                        f"Expected one {column} in candidate {name!r}.", "inconsistent-candidate"
                    )
            candidates.append(
                CandidateGroup(
                    dict(zip(map(str, rows["task"]), map(float, rows["score"]), strict=True)),
                    cost=float(rows["cost"].iloc[0]) if "cost" in frame.columns else 1.0,
                    variant=str(rows["variant"].iloc[0]) if "variant" in frame.columns else None,
                )
            )
        tasks = check_names(dict.fromkeys(map(str, frame["task"])))
        return cls(tasks, tuple(candidates))
