"""The JSON Schema of `audit.json` and of the result inside a page, generated from their types."""

from typing import Any

from affinity.storage import json_schema

from .result import PageResult


def schema() -> dict[str, Any]:
    """JSON Schema, draft 2020-12; the same for the file and for the page.

    Example:
        >>> schema()["$defs"]["PageResult"]["properties"]["schema_version"]
        {'type': 'integer'}
    """
    return json_schema(PageResult)
