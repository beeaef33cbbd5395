"""Preprocessing as fitted, in plain numbers: rows to inputs, outputs to labels."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from affinity.errors import InputError, warn
from affinity.reading import Kind
from affinity.words import count

from .features import RARE, FeatureColumns


@dataclass(frozen=True)
class Label:
    """What a task's outputs stand for."""

    classes: list[Any] | None  # in the order of their numbers; None for numbers
    mean: float  # of the training rows; a regression predicts standardized values
    deviation: float  # of the training rows; divides counts, logarithms and times, too
    kind: Kind
    components: Mapping[str, tuple[float, float]] = field(
        default_factory=dict[str, tuple[float, float]]
    )  # mean and deviation of each column of a vector


@dataclass(frozen=True)
class Preprocessing:
    """What `TableEncoder` fitted on the training rows of one replicate.

    It does what scikit-learn's transformers did, bit for bit, without being one: only numbers and
    names are stored, so that no pickle is read back.

    Args:
        columns: Which columns are read, and how.
        medians: Replace missing numbers; one per numeric or date column.
        means: Subtracted.
        scales: Divided by.
        gaps: Columns with an input of their own that says whether the value is missing.
    """

    columns: FeatureColumns
    medians: tuple[float, ...]
    means: tuple[float, ...]
    scales: tuple[float, ...]
    gaps: tuple[str, ...]
    labels: Mapping[str, Label]

    @classmethod
    def of(
        cls, columns: FeatureColumns, fitted: Any, labels: Mapping[str, Label]
    ) -> "Preprocessing":
        """From the fitted transformer."""
        numbers: tuple[tuple[float, ...], ...] = ((), (), ())
        if columns.numbers or columns.dates:
            steps = fitted.named_transformers_["numbers"].named_steps
            scaler = steps["standardscaler"]
            statistics = (steps["simpleimputer"].statistics_, scaler.mean_, scaler.scale_)
            numbers = tuple(tuple(map(float, values)) for values in statistics)
        gaps = next(names for part, _, names in fitted.transformers_ if part == "gaps")
        return cls(columns, *numbers, gaps=tuple(gaps), labels=labels)

    def __call__(self, table: pd.DataFrame) -> Float[Tensor, "row feature"]:
        """The table's rows as inputs."""
        needed = (*self.columns.numbers, *self.columns.dates, *self.columns.categories)
        missing = [name for name in needed if name not in table.columns]
        if missing:
            near = difflib.get_close_matches(missing[0], list(map(str, table.columns)), n=1)
            hint = f" Is {near[0]!r} meant for {missing[0]!r}?" if near else ""
            raise InputError(
                f"Expected the columns that the networks were trained on, but {missing} are "
                f"missing.{hint}",
                "missing-column",
            )
        clean = self.columns.read(table)
        self._warn_of_new_values(table, clean)
        return torch.tensor(np.hstack([*self._parts(clean)]), dtype=torch.float32)

    def _warn_of_new_values(self, table: pd.DataFrame, clean: pd.DataFrame) -> None:
        for name in self.columns.numbers:
            used = self.columns.formats[name]
            if used.lacks_units(table[name]):
                warn(
                    f"Column {name!r}: numbers without a unit are read as if they had the unit "
                    f"{used.units[0]!r}, as all of them had when the networks were trained.",
                    "mixed-units",
                )
        for name in self.columns.categories:
            is_new = (clean[name] == RARE).to_numpy()
            if is_new.any():
                first = table[name][is_new].iloc[0]
                example = "an empty cell" if pd.isna(first) or not str(first) else repr(str(first))
                warn(
                    f"Column {name!r} has values that no row had when the networks were trained, "
                    f"such as {example}, in {int(is_new.sum()):,} of {count(len(table), 'row')}. "
                    "They count as none of the known values.",
                    "unseen-values",
                )

    def _parts(self, clean: pd.DataFrame) -> list[np.ndarray]:
        numbers = clean[[*self.columns.numbers, *self.columns.dates]].to_numpy(dtype=np.float64)
        filled = np.where(np.isnan(numbers), np.array(self.medians), numbers)
        scaled = np.clip((filled - np.array(self.means)) / np.array(self.scales), -10, 10)
        is_gap = clean[list(self.gaps)].isna().to_numpy(dtype=np.float64)
        one_hot = [
            (clean[name].to_numpy()[:, None] == np.array(self.columns.levels(name), dtype=object))
            for name in self.columns.categories
        ]
        return [scaled, is_gap, *(np.asarray(part, dtype=np.float64) for part in one_hot)]

    def decode(self, predictions: Mapping[str, Tensor]) -> pd.DataFrame:
        """Outputs ``[row output]`` as labels in the table's own units, with probabilities."""
        frame: dict[str, object] = {}
        for name, label in self.labels.items():
            outputs = predictions[name].double()
            for number, (column, (mean, deviation)) in enumerate(label.components.items()):
                frame[f"{name}: {column}"] = (outputs[:, number] * deviation + mean).numpy()
            if label.kind == "vector":
                continue
            if label.kind == "censored":  # the expected time until the event
                frame[name] = ((-outputs[:, 0]).clamp(max=30).exp() * label.deviation).numpy()
                continue
            if label.kind in ("count", "log"):
                frame[name] = (outputs[:, 0].clamp(max=30).exp() * label.deviation).numpy()
                continue
            if label.classes is None:
                frame[name] = (outputs[:, 0] * label.deviation + label.mean).numpy()
                continue
            if label.kind == "binary" or (len(label.classes) == 2 and outputs.shape[1] == 1):
                one = outputs[:, 0].sigmoid()
                probabilities = torch.stack([1 - one, one], dim=1)
            elif label.kind == "ordinal":  # thresholds in order, even where outputs are not
                above = outputs.sigmoid().cummin(dim=1).values
                edge = torch.ones(len(above), 1, dtype=above.dtype)
                probabilities = -torch.cat([edge, above, 0 * edge], dim=1).diff(dim=1)
            else:
                probabilities = outputs.softmax(dim=1)
            likeliest = probabilities.argmax(dim=1).tolist()
            frame[name] = [label.classes[number] for number in likeliest]
            for number, value in enumerate(label.classes):
                frame[f"P({name} = {value})"] = probabilities[:, number].numpy()
        return pd.DataFrame(frame)
