"""Extras: libraries that only some need, and how to install one that is missing."""

from collections.abc import Generator
from contextlib import contextmanager

from .errors import InputError


@contextmanager
def needs(extra: str) -> Generator[None]:
    """Import a library of an extra inside this block; say how to install it where that fails."""
    try:
        yield
    except ImportError as error:
        what = (error.name or "").partition(".")[0] or f"what {extra} needs ({error})"
        raise InputError(
            f"Expected {what} to be installed; run: pip install 'task-affinity[{extra}]'",
            "missing-library",
        ) from error
