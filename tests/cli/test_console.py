"""What the library warns of is a note on the console, said once."""

import io
import warnings

import pytest
from rich.console import Console

from affinity.cli.console import warnings_as_notes


@pytest.mark.filterwarnings("always")
def test_a_warning_is_one_note_without_source_lines_and_with_hostile_text() -> None:
    console = Console(file=io.StringIO(), width=200)
    with warnings_as_notes(console):
        for _ in range(2):
            warnings.warn("The loss of '[red]a' comes near 0.", stacklevel=1)
        warnings.warn("Another.", stacklevel=1)
    assert isinstance(console.file, io.StringIO)
    said = console.file.getvalue()
    assert said == "Note: The loss of '[red]a' comes near 0.\nNote: Another.\n"
