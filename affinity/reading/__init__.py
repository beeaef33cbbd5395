"""Reading: any file or frame as a table of clean columns; knows neither torch nor tasks."""

from .column_roles import ColumnRoles
from .note import DataNote, Severity
from .options import ReadingOptions
from .source import DrawnRows, RawTable, check_column, column_names, read_source, read_table
from .target_kind import Kind, TargetKind

__all__ = [
    "ColumnRoles",
    "DataNote",
    "DrawnRows",
    "Kind",
    "RawTable",
    "ReadingOptions",
    "Severity",
    "TargetKind",
    "check_column",
    "column_names",
    "read_source",
    "read_table",
]
