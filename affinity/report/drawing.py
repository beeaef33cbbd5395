"""Drawing: one style for every picture, and files that are the same byte for byte."""

import io
import re
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from affinity.errors import InputError
from affinity.files import write_atomically

from .palette import INK, RULE, SOFT

FORMATS = ("png", "pdf", "svg")
ENLARGED = 1.35
"""Pixels of the page a point of the picture, so that its small print is readable."""
STYLE: dict[Any, Any] = {
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
    "text.hinting": "none",  # widths that hold at any size, in a browser too
    "text.parse_math": False,  # a dollar in a task's name is a dollar
    "xtick.color": SOFT,
    "ytick.color": INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
}


@runtime_checkable
class Picture(Protocol):
    """What every figure of the report can do: give its size, draw itself, give its table."""

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
        """Write as PNG, PDF or SVG, by the ending of `path`."""
        ...


@contextmanager
def style() -> Generator[None]:
    """The report's look; names in scripts that no installed font has are left to the browser."""
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        warnings.filterwarnings("ignore", message="Matplotlib currently does not support")
        yield


def figure_of(picture: Picture) -> Figure:
    """The picture on a figure of its own, without touching pyplot's."""
    figure = Figure(figsize=picture.size, layout="constrained")
    figure.patch.set_alpha(0.0)
    picture.draw(figure)
    return figure


def own_axes(size: tuple[float, float]) -> Axes:
    """Axes on a new pyplot figure, for `plot(ax=None)` at a prompt or in a notebook."""
    from matplotlib import pyplot

    return pyplot.subplots(figsize=size, layout="constrained")[1]


def inline_svg(picture: Picture, name: str) -> str:
    """The picture as an SVG element for an HTML page, without styles, addresses or stray ids.

    A strict content policy forbids style attributes, so they become presentation attributes; ids
    carry `name`, so that several pictures fit in one page.
    """
    with style():
        text = _bytes(figure_of(picture), "svg").decode()
    text = text[text.index("<svg") :].strip()
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r"<style[^>]*>.*?</style>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r'\s(xmlns(:\w+)?|version)="[^"]*"', "", text)
    text = text.replace("xlink:href=", "href=")
    text = re.sub(r'\sstyle="([^"]*)"', _presentation, text)
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', text))
    text = re.sub(
        r'\sid="([^"]*)"',
        lambda found: (
            f' id="{name}-{found[1]}"' if found[1] in used or found[1].startswith("at-") else ""
        ),
        text,
    )
    text = re.sub(r'(href="|url\()#', rf"\1#{name}-", text)
    width, height = (f"{ENLARGED * 72 * inches:.0f}" for inches in picture.size)
    text = re.sub(r'(<svg[^>]*?\swidth=)"[^"]*"', rf'\1"{width}"', text, count=1)
    text = re.sub(r'(<svg[^>]*?\sheight=)"[^"]*"', rf'\1"{height}"', text, count=1)
    return re.sub(r"<!--.*?-->\s*", "", text, flags=re.DOTALL)


def save_picture(picture: Picture, path: str | Path) -> Path:
    """Write the picture as PNG, PDF or SVG, by the ending of `path`.

    Raises:
        InputError: If the ending is another, or the file cannot be written.
    """
    path = Path(path)
    kind = path.suffix.removeprefix(".").lower()
    if kind not in FORMATS:
        raise InputError(
            f"Expected a picture to end in {', '.join('.' + end for end in FORMATS)}, but got "
            f"{path.name!r}."
        )
    with style():
        figure = figure_of(picture)
        figure.patch.set(facecolor="white", alpha=1.0)
        return write_atomically(path, _bytes(figure, kind))


def _bytes(figure: Figure, kind: str) -> bytes:
    undated = {
        "svg": {"Date": None, "Creator": None},
        "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
        "png": {"Software": None},
    }
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, metadata=undated[kind])
    return buffer.getvalue()


def _presentation(found: re.Match[str]) -> str:
    attributes: list[str] = []
    for declaration in found[1].split(";"):
        name, _, value = declaration.partition(":")
        name, value = name.strip(), value.strip()
        if name == "font":
            size = re.search(r"([\d.]+)px", value)
            weight = re.match(r"(bold|[5-9]00)\b", value)
            attributes += [f'font-size="{size[1]}"'] if size else []
            attributes += ['font-weight="bold"'] if weight else []
        elif name in _ATTRIBUTES:
            attributes.append(f'{name}="{value}"')
    return "".join(f" {attribute}" for attribute in attributes)


_ATTRIBUTES = {
    "clip-path",
    "fill",
    "fill-opacity",
    "font-size",
    "font-style",
    "font-weight",
    "image-rendering",
    "opacity",
    "stop-color",
    "stroke",
    "stroke-dasharray",
    "stroke-dashoffset",
    "stroke-linecap",
    "stroke-linejoin",
    "stroke-opacity",
    "stroke-width",
    "text-anchor",
}
