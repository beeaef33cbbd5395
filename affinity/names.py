"""Task names: any non-empty, unique strings."""

from collections import Counter
from collections.abc import Iterable

from affinity.errors import InputError


def check_names(names: Iterable[str]) -> tuple[str, ...]:
    """Return `names` as a tuple, or raise an error that names empty or repeated ones.

    Raises:
        InputError: If a name is empty or not unique.

    Example:
        >>> check_names(["depth", "edges"])
        ('depth', 'edges')
    """
    tasks = tuple(names)
    if any(not name for name in tasks):
        raise InputError(f"Expected non-empty task names, but got {tasks}.", "empty-task-name")
    twice = [name for name, count in Counter(tasks).items() if count > 1]
    if twice:
        raise InputError(
            f"Expected unique task names, but got {twice} more than once.", "duplicate-task"
        )
    return tasks
