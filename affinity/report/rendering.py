"""Rendering: templates become self-contained pages under a strict content policy."""

import base64
import hashlib
import json
import math
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from affinity.storage import to_jsonable

from .numbers import fixed, gain_range, gain_text, number, percent, tone
from .picture import Picture
from .svg import inline_svg

DIRECTION_MARKS = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


@dataclass(frozen=True)
class PageFigure:
    """A picture on a page."""

    name: str
    title: str
    alt: str  # a description for readers who do not see it
    picture: Picture
    caption: str = ""  # how to read it
    matrix: int | None = None  # position of its affinity matrix in the page's JSON

    @cached_property
    def svg(self) -> Markup:
        """The picture as an element of the page."""
        return Markup(inline_svg(self.picture, self.name))


def render(
    template: str, *, title: str, result: object, digits: int | None = None, **values: object
) -> str:
    """The template as a page, with `result` as JSON inside, to `digits` significant digits.

    Names and texts are escaped. Only the page's own style and script run, identified by their
    hashes, and nothing is fetched.
    """
    css, script = _read("page.css"), _read("page.js")
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
        gain_range=gain_range,
        result=Markup(_json_for_html(result, digits)),
        title=title,
        tone=tone,
        **values,
    )


def _read(name: str) -> str:
    return resources.files("affinity.report").joinpath("page", name).read_text(encoding="utf-8")


def _json_for_html(result: object, digits: int | None = None) -> str:
    plain = to_jsonable(result)
    if digits is not None:
        plain = json.loads(json.dumps(plain), parse_float=lambda x: float(f"{float(x):.{digits}g}"))
    text = json.dumps(plain, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _policy(css: str, script: str) -> str:
    def sha256(text: str) -> str:
        return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"

    return (
        f"default-src 'none'; style-src {sha256(css)}; script-src {sha256(script)}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def _without_direction_marks(text: str) -> str:
    """Text without the marks that would reverse the text around it."""
    return "".join(sign for sign in text if unicodedata.bidirectional(sign) not in DIRECTION_MARKS)


def _is_known(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _raw(value: float | None) -> str:
    return repr(float(value)) if value is not None and math.isfinite(value) else ""


FILTERS: Mapping[str, Callable[..., object]] = {
    "calm": _without_direction_marks,
    "fixed": fixed,
    "gain": gain_text,
    "known": _is_known,
    "number": number,
    "percent": percent,
    "raw": _raw,
    "signed": partial(number, signed=True),
    "unsigned": partial(percent, signed=False),
}
