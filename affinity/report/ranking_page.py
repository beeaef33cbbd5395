"""The page of a ranking run: what was predicted, shared and conflicted, day by day."""

from dataclasses import dataclass

import pandas as pd
from matplotlib.axes import Axes

from affinity.audit import SEVERITIES, Alert
from affinity.ranking import (
    DayResult,
    Period,
    RankingRun,
    affinity_by_day,
    daily_frame,
    find_ranking_alerts,
)
from affinity.sharing import Cost
from affinity.words import count

from .figures import page_figures
from .headline import Headline
from .key_numbers import KeyNumber
from .labels import short_labels
from .layer_conflict import LayerConflict
from .numbers import number, percent
from .picture import AxesPicture, style_ticks
from .rendering import PageFigure, render

MOST_PAIRS = 10


@dataclass(frozen=True, eq=False)
class LinesByDay(AxesPicture):
    """One line per name over days."""

    rows: pd.DataFrame  # columns day, name, value, and error where it is known
    label: str  # of the vertical axis
    days: tuple[str, ...]

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in inches."""
        return 9.4, 3.4

    def frame(self) -> pd.DataFrame:
        """One row per day and name: value, and its error."""
        return self.rows

    def _draw(self, axes: Axes) -> None:
        place = {day: number for number, day in enumerate(self.days)}
        for name, line in self.rows.groupby("name", sort=False):
            errors = line.get("error")
            axes.errorbar(
                line["day"].map(place),
                line["value"],
                errors,
                label=short_labels([str(name)], 34)[0],
                marker="o",
                markersize=3,
                linewidth=1.2,
                elinewidth=0.7,
            )
        axes.set_xticks(range(len(self.days)), self.days)
        axes.set_ylabel(self.label)
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8)
        style_ticks(axes, rotation=45)


@dataclass(frozen=True)
class PairRow:
    """The affinity of a pair in a period, with its standard error, and how often it conflicts."""

    first: str
    last: str
    source: str
    target: str
    affinity: float
    standard_error: float
    conflict: float
    measurements: int


@dataclass(frozen=True)
class RankingSummary:
    """What the page shows, for programs."""

    days: tuple[DayResult, ...]
    pairs: tuple[PairRow, ...]  # affinities by period
    alerts: tuple[Alert, ...]
    cost: Cost  # of serving


def ranking_page_of(run: RankingRun) -> str:
    """The page as text; the same run gives the same text."""
    periods = affinity_by_day(run)
    pairs = tuple(_pair_rows(periods))
    alerts = sorted(find_ranking_alerts(run), key=lambda a: SEVERITIES.index(a.severity))
    table = daily_frame(run)
    return render(
        "ranking.html.j2",
        title=f"Ranking of {count(len(run.objectives), 'objective')} day by day",
        result=RankingSummary(run.days, pairs, tuple(alerts), run.cost),
        headline=_headline(run, alerts),
        numbers=_numbers(run),
        alerts=alerts,
        figures=_figures(run, table, pairs),
        objectives=run.objectives,
        days=run.days,
        pairs=pairs,
    )


def _headline(run: RankingRun, alerts: list[Alert]) -> Headline:
    means = run.mean("auc")
    sentences = [
        f"“{name}”: AUC {value:.3f} on the following day, on average."
        for name, value in means.items()
    ]
    changed = [a for a in alerts if a.code in ("affinity-changed-sign", "gate-polarized")]
    sentences.append(
        f"{count(len(changed), 'change')} of affinities or gates to look at, below."
        if changed
        else "No affinity changed its sign beyond its error, and no gate polarized."
    )
    first, last = run.days[0].day, run.days[-1].day
    title = f"{count(len(run.days), 'day')} trained in order, {first} to {last}."
    return Headline(title, tuple(sentences), is_sure=True)


def _numbers(run: RankingRun) -> list[KeyNumber]:
    rows = sum(day.rows for day in run.days)
    numbers = [
        KeyNumber("Impressions", f"{rows:,}", f"in {count(len(run.days), 'day')}"),
        KeyNumber("Parameters", f"{run.cost.parameters:,}", "of the model that serves"),
        KeyNumber("Multiply-adds", f"{run.cost.multiply_adds:,}", "per impression, all objectives"),
    ]
    if run.recording is not None:
        cost = run.recording
        note = f"{cost.measurements} measurements in {number(cost.plain_seconds)} s of the run"
        numbers.append(KeyNumber("Cost of recording", percent(cost.overhead, signed=False), note))
    return numbers


def _pair_rows(periods: list[Period]) -> list[PairRow]:
    rows: list[PairRow] = []
    for period in periods:
        matrix = period.affinity
        errors = matrix.standard_error
        for i, source in enumerate(matrix.tasks):
            for j, target in enumerate(matrix.tasks[i + 1 :], start=i + 1):
                rows.append(
                    PairRow(
                        period.first,
                        period.last,
                        source,
                        target,
                        matrix.values[i, j].item(),
                        float("nan") if errors is None else errors[i, j].item(),
                        period.conflict[i, j].item(),
                        period.measurements,
                    )
                )
    return rows


def _figures(
    run: RankingRun, table: pd.DataFrame, pairs: tuple[PairRow, ...]
) -> dict[str, PageFigure]:
    days = tuple(day.day for day in run.days)

    def figure(name: str, title: str, rows: pd.DataFrame, label: str, caption: str) -> PageFigure:
        lines = LinesByDay(rows, label, days)
        return PageFigure(name, title, f"{title}, one line each.", lines, caption)

    figures: dict[str, PageFigure] = {}
    named = table.rename(columns={"objective": "name"})
    known = named.dropna(subset=["auc"])
    if len(known):
        rows = known.assign(value=known["auc"].astype(float))
        caption = "Each day is predicted by the model of the days before it."
        figures["auc"] = figure("auc", "AUC by day", rows, "AUC", caption)
    known = named.dropna(subset=["rate"])
    known = known[known["name"].isin([o.name for o in run.objectives if o.is_binary])]
    if len(known):
        rows = known.assign(value=(known["predicted"] - known["rate"]).astype(float))
        caption = "Mean prediction minus mean label, before training on the day: 0 is calibrated."
        figures["drift"] = figure("drift", "Calibration by day", rows, "difference", caption)
    experts = [column for column in table.columns if str(column).startswith("expert ")]
    if experts:
        known = named.dropna(subset=experts)
        rows = known.assign(value=known[experts].astype(float).max(axis=1))
        caption = "Above 0.9, all other experts get less than a tenth: the gate is polarized."
        figures["gates"] = figure("gates", "Largest weight of a gate", rows, "weight", caption)
    if pairs:
        rows = pd.DataFrame(
            {
                "day": [row.last for row in pairs],
                "name": [f"{row.source}, {row.target}" for row in pairs],
                "value": [row.affinity for row in pairs],
                "error": [2 * row.standard_error for row in pairs],
            }
        ).dropna(subset=["value"])
        largest = rows["value"].abs().groupby(rows["name"]).max().nlargest(MOST_PAIRS).index
        rows = rows[rows["name"].isin(largest)]
        caption = (
            "Cosine of gradients on the shared parameters with two standard errors, at the last "
            "day of each period. Below 0 the two objectives conflict."
        )
        figures["affinity"] = figure("affinity", "Affinity by day", rows, "affinity", caption)
    if run.trace is not None and run.trace.layers is not None:
        figures |= page_figures({"layers": LayerConflict(run.trace)}, (), "")
    return figures
