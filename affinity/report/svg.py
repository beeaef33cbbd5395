"""Pictures as SVG elements inside a page."""

import re

from .picture import Picture

ENLARGEMENT = 1.35  # pixels of the page per point, so that small labels are readable
ATTRIBUTES = re.compile(
    r"clip-path|fill(-\w+)?|font-(size|style|weight)|image-rendering|opacity|stop-color|stroke(-\w+)?"
    r"|text-anchor"
)
"""Style properties that are presentation attributes in SVG, too."""


def inline_svg(picture: Picture, name: str) -> str:
    """The picture as an SVG element without style attributes, addresses or unused ids.

    The page's content policy forbids style attributes, so they become presentation attributes. Ids
    start with `name`, so that they are unique within a page.
    """
    text = picture.to_bytes("svg").decode()
    text = text[text.index("<svg") :].strip()
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r"<style[^>]*>.*?</style>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r'\s(xmlns(:\w+)?|version)="[^"]*"', "", text)
    text = text.replace("xlink:href=", "href=")
    text = re.sub(r'\sstyle="([^"]*)"', _presentation, text)
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', text))
    text = re.sub(
        r'\sid="([^"]*)"',
        lambda match: (
            f' id="{name}-{match[1]}"' if match[1] in used or match[1].startswith("at-") else ""
        ),
        text,
    )
    text = re.sub(r'(href="|url\()#', rf"\1#{name}-", text)
    width, height = (f"{ENLARGEMENT * 72 * inches:.0f}" for inches in picture.size)
    text = re.sub(r'(<svg[^>]*?\swidth=)"[^"]*"', rf'\1"{width}"', text, count=1)
    text = re.sub(r'(<svg[^>]*?\sheight=)"[^"]*"', rf'\1"{height}"', text, count=1)
    return re.sub(r"<!--.*?-->\s*", "", text, flags=re.DOTALL)


def _presentation(match: re.Match[str]) -> str:
    attributes: list[str] = []
    for declaration in match[1].split(";"):
        name, _, value = declaration.partition(":")
        name, value = name.strip(), value.strip()
        if name == "font":
            size = re.search(r"([\d.]+)px", value)
            weight = re.match(r"(bold|[5-9]00)\b", value)
            attributes += [f'font-size="{size[1]}"'] if size else []
            attributes += ['font-weight="bold"'] if weight else []
        elif ATTRIBUTES.fullmatch(name):
            attributes.append(f'{name}="{value}"')
    return "".join(f" {attribute}" for attribute in attributes)
