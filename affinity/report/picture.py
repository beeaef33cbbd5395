"""A picture: one style for all figures, and files that are identical in every run."""

import io
import warnings
from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, runtime_checkable

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from affinity.errors import InputError
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


@runtime_checkable
class Picture(Protocol):
    """A figure of the report: it draws itself and gives the numbers that it shows."""

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in inches."""
        ...

    def frame(self) -> pd.DataFrame:
        """The numbers drawn."""
        ...

    def draw(self, figure: Figure) -> None:
        """Draw on an empty figure of this size."""
        ...

    def save(self, path: str | Path) -> Path:
        """Write a PNG, PDF or SVG file, by the suffix of `path`."""
        ...


class AxesPicture(ABC):
    """A picture on a single pair of axes; a subclass gives its size, its numbers and `_draw`."""

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
        with use_style():
            axes = new_axes(self.size) if ax is None else ax
            self._draw(axes)
        return axes

    def draw(self, figure: Figure) -> None:
        """Draw on an empty figure of this size."""
        self._draw(figure.add_subplot())

    def save(self, path: str | Path) -> Path:
        """Write a PNG, PDF or SVG file, by the suffix of `path`."""
        return save_picture(self, path)


@contextmanager
def use_style() -> Generator[None]:
    """The report's style; browsers draw names in scripts that no installed font has."""
    with mpl.rc_context(dict(STYLE)), warnings.catch_warnings():  # pyright: ignore[reportArgumentType]
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        warnings.filterwarnings("ignore", message="Matplotlib currently does not support")
        yield


def new_axes(size: tuple[float, float]) -> Axes:
    """Axes on a new pyplot figure, for `plot()` at a prompt or in a notebook."""
    from matplotlib import pyplot

    return pyplot.subplots(figsize=size, layout="constrained")[1]


def style_ticks(axes: Axes, rotation: float = 90) -> None:
    """Dark labels without marks; those of the x axis are rotated."""
    axes.tick_params(axis="x", rotation=rotation, colors=INK, length=0)
    axes.tick_params(axis="y", rotation=0, colors=INK, length=0)


def save_picture(picture: Picture, path: str | Path) -> Path:
    """Write a PNG, PDF or SVG file, by the suffix of `path`.

    Raises:
        InputError: If the suffix is another, or the file cannot be written.
    """
    path = Path(path)
    kind = path.suffix.removeprefix(".").lower()
    if kind not in FORMATS:
        raise InputError(
            f"Expected a file name ending in {', '.join('.' + name for name in FORMATS)}, but got "
            f"{path.name!r}.",
            "unknown-format",
        )
    return write_atomically(path, draw_bytes(picture, kind, background="white"))


def draw_bytes(picture: Picture, kind: str, background: str = "none") -> bytes:
    """The picture as the bytes of a file, without touching pyplot's figures."""
    buffer = io.BytesIO()
    with use_style():
        figure = Figure(figsize=picture.size, layout="constrained", facecolor=background)
        picture.draw(figure)
        figure.savefig(buffer, format=kind, metadata=dict(UNDATED[kind]), facecolor=background)
    return buffer.getvalue()
