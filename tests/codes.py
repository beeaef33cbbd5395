"""Expecting errors and warnings by their codes, so that better words break no test."""

import warnings
from collections.abc import Generator
from contextlib import contextmanager

import pytest

from affinity.errors import AffinityWarning, InputError


@contextmanager
def raises(code: str) -> Generator[pytest.ExceptionInfo[InputError]]:
    """Expect an `InputError` with this code; the message must not be empty."""
    with pytest.raises(InputError) as info:
        yield info
    assert info.value.code == code, f"expected the code {code!r}, got {info.value.code!r}"
    assert str(info.value)


@contextmanager
def warns(code: str) -> Generator[None]:
    """Expect a warning with this code; others pass through."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    codes = [w.message.code for w in caught if isinstance(w.message, AffinityWarning)]
    for warning in caught:
        if not (isinstance(warning.message, AffinityWarning) and warning.message.code == code):
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )
    assert code in codes, f"expected a warning with the code {code!r}, got {codes}"
