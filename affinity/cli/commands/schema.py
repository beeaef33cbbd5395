"""`affinity schema`: the JSON Schema of an audit."""

import json

from affinity.cli import flags


def schema(debug: flags.Debug = False) -> None:  # noqa: ARG001
    """Print the JSON Schema of audit.json and of the result inside the page."""
    from affinity.report import schema as schema_of

    print(json.dumps(schema_of(), indent=1, ensure_ascii=False))
