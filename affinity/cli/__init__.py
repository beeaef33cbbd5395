"""The command `affinity`: parse, call, write."""

from .main import app, main

__all__ = ["app", "main"]
