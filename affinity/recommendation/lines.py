"""Lines: where in a YAML text each entry stands."""

from typing import Any

import yaml


def lines_of(text: str) -> dict[tuple[Any, ...], int]:
    r"""The line, from 1, of every entry by its path of keys and numbers.

    Example:
        >>> lines_of("version: 1\nnetworks:\n- serves: [depth]")["networks", 0, "serves", 0]
        3
    """
    lines: dict[tuple[Any, ...], int] = {}
    walked: set[int] = set()  # an alias may lead back to where it stands

    def walk(node: yaml.Node, path: tuple[Any, ...]) -> None:
        lines.setdefault(path, node.start_mark.line + 1)
        if id(node) in walked:
            return
        walked.add(id(node))
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                name = yaml.SafeLoader("").construct_object(key)  # pyright: ignore[reportArgumentType]
                lines[*path, name] = key.start_mark.line + 1
                walk(value, (*path, name))
        elif isinstance(node, yaml.SequenceNode):
            for number, entry in enumerate(node.value):
                walk(entry, (*path, number))

    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if root is not None:
        walk(root, ())
    return lines
