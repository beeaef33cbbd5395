"""What was done with a column of a table."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ColumnUse:
    """How one column was read and encoded.

    Args:
        name: Of the column.
        read_as: Number, date, text, target (with its kind), or what it says about rows.
        encoded_as: The inputs that networks get; "left out" if they get none.
        missing: Rows without a value.
        notes: What was special about it.
    """

    name: str
    read_as: str
    encoded_as: str
    missing: int = 0
    notes: str = ""
