"""Errors and warnings, each with a stable code that tests and scripts can rely on."""

import sys
import warnings
from pathlib import Path

_PACKAGE = str(Path(__file__).parent)


class InputError(ValueError):
    """Invalid input; the message says what was expected, what was received and what to do.

    Args:
        code: A stable name for the cause, such as ``"unknown-task"``; the wording may change.

    Example:
        >>> try:
        ...     raise InputError("Expected one of the tasks ['a'], but got 'b'.", "unknown-task")
        ... except InputError as error:
        ...     error.code
        'unknown-task'
    """

    def __init__(self, message: str, code: str = "invalid-input") -> None:
        super().__init__(message)
        self.code = code

    def __reduce__(self) -> tuple[type["InputError"], tuple[str, str]]:
        """Keep the code when the error crosses a process boundary."""
        return type(self), (str(self), self.code)


class DivergenceError(ArithmeticError):
    """A loss became NaN or infinite; the message names the task and the step."""


class AffinityWarning(UserWarning):
    """A warning about a result that may be wrong or incomplete.

    Args:
        code: A stable name for the cause.
    """

    def __init__(self, message: str, code: str = "warning") -> None:
        super().__init__(message)
        self.code = code


def warn(message: str, code: str) -> None:
    """Issue an `AffinityWarning` at the line outside of this package that led here.

    Example:
        >>> with warnings.catch_warnings(record=True) as caught:
        ...     warnings.simplefilter("always")
        ...     warn("No pair of tasks was measured.", "no-pairs")
        >>> caught[0].message.code
        'no-pairs'
    """
    level, frame = 2, sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        level, frame = level + 1, frame.f_back
    warnings.warn(AffinityWarning(message, code), stacklevel=level)
