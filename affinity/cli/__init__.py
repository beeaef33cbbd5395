"""The command `affinity`: parse, call, write."""

from .main import main

__all__ = ["main"]
