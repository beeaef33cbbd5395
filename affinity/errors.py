"""Errors and warnings, each with a stable code that tests and scripts can rely on."""

import sys
import warnings
from collections import Counter
from collections.abc import Iterable
from math import inf
from numbers import Integral, Real
from operator import ge, gt, le, lt
from pathlib import Path
from typing import Any

Number = int | float
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
    """A loss became NaN or infinite; the message names the task and the step.

    A smaller learning rate usually helps. In an audit, a diverged training of a baseline is no
    error: its gains are undefined.
    """


def check_number(
    name: str,
    value: Any,
    code: str = "out-of-range",
    *,
    least: Number | None = None,
    above: Number | None = None,
    most: Number | None = None,
    below: Number | None = None,
) -> None:
    """Refuse a number outside of its range, and NaN; None is a setting that is not given."""
    limits = (
        ("at least", ge, least),
        ("above", gt, above),
        ("at most", le, most),
        ("below", lt, below),
    )
    given = [(words, holds, bound) for words, holds, bound in limits if bound is not None]
    try:
        is_allowed = value is None or all(holds(value, bound) for _, holds, bound in given)
    except TypeError:  # no number at all
        is_allowed = False
    if not is_allowed:
        expected = ["finite" if bound == inf else f"{words} {bound}" for words, _, bound in given]
        got = value if isinstance(value, Real) else repr(value)  # NumPy's numbers, too
        raise InputError(f"Expected {name} to be {' and '.join(expected)}, but got {got}.", code)


def check_whole_number(name: str, value: object, least: int, code: str) -> None:
    """Refuse what is no whole number, or too small a one."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise InputError(
            f"Expected {name} to be a whole number, but got {value!r}.", "not-a-whole-number"
        )
    check_number(name, value, code, least=least)


def check_choice(name: str, value: object, choices: Iterable[object], code: str) -> None:
    """Refuse a value that is none of the choices."""
    if value not in (known := [*choices]):
        raise InputError(f"Expected {name} to be one of {known}, but got {value!r}.", code)


def check_same(name: str, value: object, expected: object, code: str) -> None:
    """Refuse a value other than the expected one."""
    if value != expected:
        raise InputError(f"Expected {name} to be {expected!r}, but got {value!r}.", code)


def check_unique(names: str, given: Iterable[object], code: str) -> None:
    """Refuse names of which one is given twice."""
    if twice := [name for name, count in Counter(given).items() if count > 1]:
        raise InputError(f"Expected unique {names}, but got {twice} more than once.", code)


def check_known(names: str, given: Iterable[object], known: Iterable[object], code: str) -> None:
    """Refuse names that are not among the known ones."""
    choices = [*known]
    if unknown := [name for name in dict.fromkeys(given) if name not in choices]:
        raise InputError(f"Expected {names} among {choices}, but got {unknown}.", code)


def check_has_columns(columns: Iterable[object], expected: Iterable[object]) -> None:
    """Refuse a table that lacks one of the expected columns."""
    found = [*columns]
    if missing := [name for name in expected if name not in found]:
        raise InputError(
            f"Expected the columns {missing}, but the table has {list(map(str, found))}.",
            "missing-column",
        )


class AffinityWarning(UserWarning):
    """A warning about a result that may be wrong or incomplete.

    Args:
        code: A stable name for the cause, such as ``"no-pairs"``; the wording may change.

    Example:
        >>> with warnings.catch_warnings(record=True) as caught:
        ...     warnings.simplefilter("always")
        ...     warn("No pair of tasks was measured.", "no-pairs")
        >>> caught[0].message.code
        'no-pairs'
    """

    def __init__(self, message: str, code: str = "warning") -> None:
        super().__init__(message)
        self.code = code


def warn(message: str, code: str) -> None:
    """Issue an `AffinityWarning` at the line outside of this package that led here."""
    level, frame = 2, sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        level, frame = level + 1, frame.f_back
    warnings.warn(AffinityWarning(message, code), stacklevel=level)
