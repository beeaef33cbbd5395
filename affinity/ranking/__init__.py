"""Ranking: several objectives of one stream of impressions, in the order of time."""

from .daily import (
    DailyTrainer,
    DayResult,
    ObjectiveMetrics,
    RankingCheckpoint,
    RankingRun,
    evaluate,
)
from .impressions import Impressions, read_impressions
from .metrics import auc, gauc, ndcg
from .model import PositionTower, RankingModel, RankingSettings
from .objective import RankingObjective

__all__ = [
    "DailyTrainer",
    "DayResult",
    "Impressions",
    "ObjectiveMetrics",
    "PositionTower",
    "RankingCheckpoint",
    "RankingModel",
    "RankingObjective",
    "RankingRun",
    "RankingSettings",
    "auc",
    "evaluate",
    "gauc",
    "ndcg",
    "read_impressions",
]
