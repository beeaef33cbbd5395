"""The JSON Schema of `audit.json` and of the result inside a page."""

import json
from importlib import resources
from typing import Any


def schema() -> dict[str, Any]:
    """JSON Schema, draft 2020-12; the same for the file and for the page.

    Example:
        >>> schema()["properties"]["schema_version"]
        {'const': 1, 'description': 'Of this format; it changes when a field changes its meaning.'}
    """
    text = resources.files("affinity.report").joinpath("schema.json").read_text(encoding="utf-8")
    return json.loads(text)
