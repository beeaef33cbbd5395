"""A picture on one pair of axes: drawn on the user's or on a new figure, and written to a file."""

from abc import ABC, abstractmethod
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .drawing import own_axes, save_picture, style


class OneAxes(ABC):
    """What all pictures on one pair of axes can do, from a size and a way to draw."""

    @property
    @abstractmethod
    def size(self) -> tuple[float, float]:
        """Width and height in inches."""

    @abstractmethod
    def frame(self) -> pd.DataFrame:
        """The numbers drawn."""

    @abstractmethod
    def _draw(self, axes: Axes) -> None: ...

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw on `ax`, or on a new figure."""
        with style():
            axes = own_axes(self.size) if ax is None else ax
            self._draw(axes)
        return axes

    def draw(self, figure: Figure) -> None:
        """Draw on an empty figure of this size."""
        self._draw(figure.add_subplot())

    def save(self, path: str | Path) -> Path:
        """Write as PNG, PDF or SVG, by the ending of `path`."""
        return save_picture(self, path)
