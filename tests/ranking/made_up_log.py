"""A made-up log: clicks follow from the video's kind, likes from click and user."""

import numpy as np
import pandas as pd

from affinity.ranking import Impressions, RankingObjective, read_impressions

OBJECTIVES = (
    RankingObjective("click"),
    RankingObjective("watch", "squared error"),
    RankingObjective("like", family="satisfaction", after="click"),
)


def log(n_days: int = 4, rows: int = 300, seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    n = n_days * rows
    frame = pd.DataFrame(
        {
            "time": np.arange(n) * (86_400 / rows),
            "user": random.integers(0, 30, n),
            "video": random.integers(0, 60, n),
            "length": random.normal(30, 5, n),
            "position": random.integers(1, 6, n),
        }
    )
    appeal = 0.15 + 0.7 * (frame["video"] % 3 == 0)
    frame["click"] = (random.random(n) < appeal).astype(float)
    frame["watch"] = frame["click"] * random.exponential(20, n)
    frame["like"] = frame["click"] * (random.random(n) < 0.2 + 0.6 * (frame["user"] % 2))
    return frame


def impressions(
    frame: pd.DataFrame | None = None, objectives=OBJECTIVES, **settings
) -> Impressions:
    return read_impressions(
        log() if frame is None else frame,
        objectives,
        **{
            "time": "time",
            "time_unit": "s",
            "user": "user",
            "identifiers": ["user", "video"],
            "numbers": ["length"],
            "position": "position",
            "buckets": 128,
            **settings,
        },
    )
