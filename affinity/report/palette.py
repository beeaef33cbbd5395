"""The colours of pages and pictures. Blue: helps. Orange: harms. Grey: within noise.

Blue and orange differ under every common kind of colour blindness, and no information is given by
colour alone.
"""

from collections.abc import Sequence

from matplotlib.colors import LinearSegmentedColormap

INK = "#1c2330"
SOFT = "#5b6472"
RULE = "#d9dde3"
NOISE = "#e9ebee"
HELPS = "#1f63b0"
HARMS = "#b8510d"
NEUTRAL = "#5b6472"
GROUPS = ("#1b7f79", "#8a4fa3", "#7a6a1f", "#b03a6b", "#3f6f3a", "#4b5563", "#6d5ae0", "#7a4a32")
"""For networks; none of them is the blue of help or the orange of harm."""

DIVERGING = LinearSegmentedColormap.from_list(
    "affinity", ["#8f3b06", "#d3762c", "#f0bd8d", "#fbfaf7", "#9dc3e6", "#3f83c8", "#123f7d"]
)


def group_colour(number: int, colours: Sequence[str] = GROUPS) -> str:
    """The colour of a network by its position in the grouping; colours repeat after eight."""
    return colours[number % len(colours)]
