"""Notes: what the library warns of, said once and without its source lines."""

import warnings
from collections.abc import Generator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape


@contextmanager
def warnings_as_notes(console: Console) -> Generator[None]:
    """Inside the block every warning is printed as a note, each text once."""
    said: set[str] = set()

    def show(message: Warning | str, *where: object, **more: object) -> None:
        del where, more  # a user is not told of our source lines
        text = str(message)
        if text not in said:
            said.add(text)
            console.print(f"[yellow]Note:[/yellow] {escape(text)}", soft_wrap=True)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield
