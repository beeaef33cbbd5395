"""A person pressed Ctrl-C, and is told what is kept."""


class Stopped(Exception):  # noqa: N818
    """The run was stopped from outside; the message says what was finished."""
