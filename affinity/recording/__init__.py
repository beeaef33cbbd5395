"""What one multi-task run tells about its tasks: a recorder that watches, and its trace."""

from .trace import Trace

__all__ = ["Trace"]
