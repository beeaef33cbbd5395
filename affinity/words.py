"""Words: names in a row and amounts of things, as a sentence has them."""

from collections.abc import Sequence


def listed(names: Sequence[str]) -> str:
    """Names with commas, and an "and" before the last.

    Example:
        >>> listed(["depth", "edges", "normals"])
        'depth, edges and normals'
    """
    return ", ".join(names[:-1]) + " and " + names[-1] if len(names) > 1 else names[0]


def count(amount: int, noun: str) -> str:
    """An amount with its noun.

    Example:
        >>> count(1, "network"), count(3, "network")
        ('1 network', '3 networks')
    """
    return f"{amount:,} {noun}{'' if amount == 1 else 's'}"
