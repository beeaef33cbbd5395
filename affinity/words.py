"""Words: names in a row, as a sentence has them."""

from collections.abc import Sequence


def listed(names: Sequence[str]) -> str:
    """Names with commas, and an "and" before the last.

    Example:
        >>> listed(["depth", "edges", "normals"])
        'depth, edges and normals'
    """
    return ", ".join(names[:-1]) + " and " + names[-1] if len(names) > 1 else names[0]
