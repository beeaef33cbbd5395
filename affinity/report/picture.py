"""A picture: one style for all figures, and files that are identical in every run."""

import io
import warnings
from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from affinity.errors import check_choice
from affinity.files import write_atomically

from .palette import INK, RULE, SOFT

FORMATS = ("png", "pdf", "svg")
STYLE: Mapping[str, object] = {
    "axes.edgecolor": RULE,
    "axes.facecolor": "none",
    "axes.labelcolor": SOFT,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.dpi": 100,
    "font.family": "sans-serif",
    "font.size": 9.5,
    "legend.frameon": False,
    "pdf.fonttype": 42,
    "savefig.dpi": 160,
    "svg.fonttype": "none",
    "svg.hashsalt": "task-affinity",
    "text.color": INK,
    "text.hinting": "none",  # text widths that hold at any size, also in a browser
    "text.parse_math": False,  # a dollar sign in a task's name is a dollar sign
    "xtick.color": SOFT,
    "ytick.color": INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
}
UNDATED: Mapping[str, Mapping[str, None]] = {
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "png": {"Software": None},
}


class Picture(ABC):
    """A figure of the report: it draws itself and gives the numbers that it shows."""

    @property
    @abstractmethod
    def size(self) -> tuple[float, float]:
        """Width and height in inches."""

    @abstractmethod
    def frame(self) -> pd.DataFrame:
        """The numbers drawn."""

    @abstractmethod
    def draw(self, figure: Figure) -> None:
        """Draw on an empty figure of this size."""

    def save(self, path: str | Path) -> Path:
        """Write a PNG, PDF or SVG file, by the suffix of `path`."""
        path = Path(path)
        kind = path.suffix.removeprefix(".").lower()
        check_choice(f"the ending of {path.name!r}", kind, FORMATS, "unknown-format")
        return write_atomically(path, self.to_bytes(kind, background="white"))

    def to_bytes(self, kind: str, background: str = "none") -> bytes:
        """The content of a file, drawn without touching pyplot's figures."""
        buffer = io.BytesIO()
        with use_style():
            figure = Figure(figsize=self.size, layout="constrained", facecolor=background)
            self.draw(figure)
            figure.savefig(buffer, format=kind, metadata=dict(UNDATED[kind]), facecolor=background)
        return buffer.getvalue()


class AxesPicture(Picture):
    """A picture on a single pair of axes."""

    @abstractmethod
    def _draw(self, axes: Axes) -> None: ...

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw on `ax`, or on a new figure."""
        with use_style():
            if ax is None:
                from matplotlib import pyplot

                ax = pyplot.subplots(figsize=self.size, layout="constrained")[1]
            self._draw(ax)
        return ax

    def draw(self, figure: Figure) -> None:
        """Draw on an empty figure of this size."""
        self._draw(figure.add_subplot())


@contextmanager
def use_style() -> Generator[None]:
    """The report's style; browsers draw names in scripts that no installed font has."""
    with mpl.rc_context(dict(STYLE)), warnings.catch_warnings():  # pyright: ignore[reportArgumentType]
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        warnings.filterwarnings("ignore", message="Matplotlib currently does not support")
        yield


def style_ticks(axes: Axes, rotation: float = 90) -> None:
    """Dark labels without marks; those of the x axis are rotated."""
    axes.tick_params(axis="x", rotation=rotation, colors=INK, length=0)
    axes.tick_params(axis="y", rotation=0, colors=INK, length=0)
