"""Ranking: several objectives of one stream of impressions, in the order of time."""

from .clicks import CascadeClicks, PositionClicks, position_effect, positions_by_score
from .combination import CombinedScore, WeightFront, compare_weights, weight_grid
from .daily import (
    DailyTrainer,
    DayResult,
    ObjectiveMetrics,
    RankingCheckpoint,
    RankingRun,
    evaluate,
)
from .drift import Period, affinity_by_day, daily_frame, find_ranking_alerts
from .impressions import Impressions, read_impressions
from .metrics import auc, gauc, ndcg
from .model import PositionTower, RankingModel, RankingSettings
from .objective import RankingObjective
from .offline import OfflineComparison, compare_rankers
from .temporal import TemporalTrainer

__all__ = [
    "CascadeClicks",
    "CombinedScore",
    "DailyTrainer",
    "DayResult",
    "Impressions",
    "ObjectiveMetrics",
    "OfflineComparison",
    "Period",
    "PositionClicks",
    "PositionTower",
    "RankingCheckpoint",
    "RankingModel",
    "RankingObjective",
    "RankingRun",
    "RankingSettings",
    "TemporalTrainer",
    "WeightFront",
    "affinity_by_day",
    "auc",
    "compare_rankers",
    "compare_weights",
    "daily_frame",
    "evaluate",
    "find_ranking_alerts",
    "gauc",
    "ndcg",
    "position_effect",
    "positions_by_score",
    "read_impressions",
    "weight_grid",
]
