"""The probabilities of a study's candidates over the trainings that had ended."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from affinity.study import PastAnswer

from .palette import HELPS, INK, RULE, SOFT
from .picture import AxesPicture

SHOWN = {"plan": "best grouping so far", "separate": "separate", "all-in-one": "all-in-one"}
"""The candidates that every answer has, with their labels."""

_STYLES = {"plan": (HELPS, "-"), "separate": (SOFT, "--"), "all-in-one": (INK, ":")}


@dataclass(frozen=True, eq=False)
class ProbabilityPlot(AxesPicture):
    """Lines of the probability that no other grouping is better by more than the tolerance.

    A dot on the line of the best grouping so far says that it is another one than before.

    Args:
        history: Candidates after earlier trainings, the earliest first.
    """

    history: Sequence[PastAnswer]

    def frame(self) -> pd.DataFrame:
        """One row per number of ended trainings and candidate: probability, networks, changed."""
        rows: list[dict[str, object]] = []
        before = None
        for answer in self.history:
            plan = answer.candidates[0].networks
            for candidate in SHOWN:
                probability = answer.probability(candidate)
                rows.append(
                    {
                        "ended": answer.ended,
                        "candidate": candidate,
                        "probability": nan if probability is None else probability,
                        "networks": " | ".join(map(", ".join, plan)) if candidate == "plan" else "",
                        "changed": candidate == "plan" and before is not None and plan != before,
                    }
                )
            before = plan
        columns = ["ended", "candidate", "probability", "networks", "changed"]
        return pd.DataFrame(rows, columns=columns)

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in inches."""
        return 6.4, 2.6

    def _draw(self, axes: Axes) -> None:
        for candidate, rows in self.frame().groupby("candidate", sort=False):
            colour, line = _STYLES[str(candidate)]
            label = SHOWN[str(candidate)]
            axes.plot(rows["ended"], rows["probability"], line, color=colour, label=label)
            changed = rows[rows["changed"]]
            axes.plot(changed["ended"], changed["probability"], "o", color=colour, ms=5)
        axes.axhline(0.95, color=RULE, linewidth=0.8, zorder=0)
        axes.set_ylim(-0.03, 1.03)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        axes.set_xlabel("trainings that had ended")
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
