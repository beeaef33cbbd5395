"""Task names: any non-empty, unique strings."""

from collections.abc import Iterable

from affinity.errors import InputError, check_unique


def check_names(names: Iterable[str]) -> tuple[str, ...]:
    """Return `names` as a tuple, or raise an error that names invalid or repeated ones.

    Raises:
        InputError: If a name is no text, empty or not unique.

    Example:
        >>> check_names(["depth", "edges"])
        ('depth', 'edges')
    """
    if isinstance(names, str):
        raise InputError(
            f"Expected a list of task names, but got the text {names!r}.", "not-a-task-name"
        )
    tasks = tuple(names)
    if others := [name for name in tasks if not isinstance(name, str)]:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InputError(
            f"Expected task names that are text, such as {str(others[0])!r}, but got {others[:5]}.",
            "not-a-task-name",
        )
    if any(not name for name in tasks):
        raise InputError(f"Expected non-empty task names, but got {tasks}.", "empty-task-name")
    check_unique("task names", tasks, "duplicate-task")
    return tasks
