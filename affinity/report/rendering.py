"""Rendering: templates become self-contained pages under a strict content policy."""

import base64
import hashlib
import json
import math
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import resources
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from .numbers import fixed, number, percent, percent_range


@dataclass(frozen=True)
class Figure:
    """A picture as the page shows it."""

    name: str
    title: str
    alt: str
    svg: Markup
    caption: str = ""
    matrix: int | None = None


def render(template: str, *, title: str, result: dict[str, Any], **values: Any) -> str:
    """The template as a page; `result` goes into it as JSON.

    Names and texts are escaped; no style or script runs but the page's own, known by their hashes;
    nothing is fetched.
    """
    css, script = _part("page.css"), _part("page.js")
    environment = Environment(
        loader=PackageLoader("affinity.report", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= FILTERS
    return environment.get_template(template).render(
        css=Markup(css),
        script=Markup(script),
        policy=_policy(css, script),
        percent_range=percent_range,
        result=Markup(_json_for_html(result)),
        title=title,
        tone=tone,
        **values,
    )


def tone(low: float | None, high: float | None) -> str:
    """The class of a number whose interval leaves out 0."""
    if low is not None and np.isfinite(low) and low > 0:
        return "helps"
    return "harms" if high is not None and np.isfinite(high) and high < 0 else ""


def _part(name: str) -> str:
    return resources.files("affinity.report").joinpath("page", name).read_text(encoding="utf-8")


def _json_for_html(result: dict[str, Any]) -> str:
    text = json.dumps(result, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _policy(css: str, script: str) -> str:
    def hashed(text: str) -> str:
        return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"

    return (
        f"default-src 'none'; style-src {hashed(css)}; script-src {hashed(script)}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def _without_direction(text: str) -> str:
    """Text without the marks that would turn the words around it."""
    return "".join(sign for sign in text if unicodedata.bidirectional(sign) not in _TURNS)


def _is_known(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _raw(value: float | None) -> str:
    return repr(float(value)) if value is not None and math.isfinite(value) else ""


_TURNS = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
FILTERS: dict[str, Callable[..., Any]] = {
    "calm": _without_direction,
    "fixed": fixed,
    "known": _is_known,
    "number": number,
    "percent": percent,
    "raw": _raw,
    "signed": partial(number, signed=True),
    "unsigned": partial(percent, signed=False),
}
