"""The command line's reference page, generated from the options.

Write it with: python -m affinity.cli.reference
"""

import re
from pathlib import Path

from affinity.files import write_atomically

from .main import make_app

PAGE = Path("docs/reference/command-line.md")


def write_reference(path: str | Path = PAGE) -> Path:
    """Write the page that describes every command and its options."""
    text = make_app().generate_docs(output_format="markdown")
    return write_atomically(path, re.sub(r" -m [\w.]+", "", text))  # of `python -m`, in usages


if __name__ == "__main__":
    print(write_reference())
