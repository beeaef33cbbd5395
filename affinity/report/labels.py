"""Short labels: task names that fit into pictures."""

import unicodedata
from collections import Counter
from collections.abc import Sequence

LONGEST = 26


def short_labels(names: Sequence[str], longest: int = LONGEST) -> list[str]:
    """One-line names without control characters, cut in the middle, and still distinct."""
    labels = [_cut(_printable(name), longest) for name in names]
    counts = Counter(labels)
    return [
        label if counts[label] == 1 else f"{label} #{position}"
        for position, label in enumerate(labels, start=1)
    ]


def _printable(name: str) -> str:
    # Control characters break XML; direction marks would reverse the text around them.
    visible = "".join(" " if unicodedata.category(sign)[0] in "CZ" else sign for sign in name)
    return " ".join(visible.split()) or "(unprintable)"


def _cut(name: str, longest: int) -> str:
    if len(name) <= longest:
        return name
    tail = (longest - 1) // 2
    return f"{name[: longest - 1 - tail]}…{name[-tail:]}"
