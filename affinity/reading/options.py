"""Reading options: how a table is read, where it does not say so itself."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd

from affinity.errors import InputError, check_choice


@dataclass(frozen=True)
class ReadingOptions:
    """How a table is read, where it does not say so itself.

    Args:
        separator: Between the columns of a text file; found from its first lines if None.
        decimal: Decimal mark of numbers.
        encoding: Encoding of a text file; UTF-8, or found from its first bytes, if None.
        missing: Values that mean a missing value, in all columns, or in one: ``COLUMN=VALUE``.
        date_formats: Formats of `datetime.strptime` for columns of dates.
        as_text: Columns of a text file that are kept as text, because their format is known.

    Raises:
        InputError: If the separator or the decimal mark is not one character, or the encoding is
            not known.
    """

    separator: str | None = None
    decimal: str | None = None
    encoding: str | None = None
    missing: tuple[str, ...] = ()
    date_formats: Mapping[str, str] = field(default_factory=dict[str, str])
    as_text: tuple[str, ...] = ()

    @property
    def columns(self) -> list[str]:
        """The columns that have an option of their own."""
        marked = [str(mark).rpartition("=")[0] for mark in self.missing]
        return [*self.date_formats, *filter(None, marked)]

    def __post_init__(self) -> None:
        if isinstance(self.missing, str):
            raise InputError(
                f"Expected several missing marks, such as missing=[{self.missing!r}], but got a "
                "text.",
                "invalid-option",
            )
        if self.separator is not None and len(self.separator.replace("\\t", "\t")) != 1:
            raise InputError(
                f"Expected one character as separator, such as ';' or '\\t', but got "
                f"{self.separator!r}.",
                "invalid-option",
            )
        check_choice("the decimal mark", self.decimal, (None, ".", ","), "invalid-option")
        for column, shape in self.date_formats.items():
            try:
                pd.to_datetime(pd.Series([""]), format=shape, errors="coerce")
            except ValueError as error:
                raise InputError(
                    f"Expected a format of dates for {column!r}, such as '%d.%m.%Y', but got "
                    f"{shape!r}: {error}.",
                    "invalid-option",
                ) from error
        if self.encoding is not None:
            try:
                "".encode(self.encoding)
            except (LookupError, ValueError) as error:
                raise InputError(
                    f"Expected an encoding that Python knows, such as 'latin-1', but got "
                    f"{self.encoding!r}.",
                    "invalid-option",
                ) from error
