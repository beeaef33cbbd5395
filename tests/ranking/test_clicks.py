"""Planted click models: known probabilities, and whether a position tower recovers them."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from codes import raises
from made_up_log import impressions

from affinity.ranking import (
    CascadeClicks,
    DailyTrainer,
    PositionClicks,
    RankingObjective,
    RankingSettings,
    position_effect,
    positions_by_score,
)

SLATES = torch.arange(20_000).repeat_interleave(4)
POSITIONS = torch.arange(1, 5).repeat(20_000)


def test_clicks_by_position_have_the_planted_rates():
    attraction = torch.full((80_000,), 0.5)
    clicks = PositionClicks((1.0, 0.6, 0.2))(attraction, SLATES, POSITIONS)
    rates = [clicks[k == POSITIONS].mean().item() for k in range(1, 5)]
    assert rates == pytest.approx([0.5, 0.3, 0.1, 0.1], abs=0.01)


def test_clicks_in_a_cascade_have_the_planted_rates():
    attraction = torch.full((80_000,), 0.5)
    clicks = CascadeClicks(after_click=0.2, otherwise=0.8)(attraction, SLATES, POSITIONS)
    rates = [clicks[k == POSITIONS].mean().item() for k in range(1, 5)]
    stays = 0.5 * 0.2 + 0.5 * 0.8
    assert rates == pytest.approx([0.5 * stays**k for k in range(4)], abs=0.01)


def test_a_cascade_does_not_depend_on_the_order_of_rows():
    attraction = torch.ones(80_000)
    order = torch.randperm(80_000, generator=torch.Generator().manual_seed(0))
    clicks = CascadeClicks(after_click=0.0)(attraction, SLATES[order], POSITIONS[order])
    assert torch.equal(clicks, (POSITIONS[order] == 1).float())


def test_equal_scores_are_in_random_order():
    positions = positions_by_score(torch.zeros(80_000), SLATES)
    assert sorted(positions[:4].tolist()) == [1, 2, 3, 4]
    correlation = np.corrcoef(positions, POSITIONS)[0, 1]
    assert abs(correlation) < 0.02
    with raises("missing-score"):
        positions_by_score(torch.full((4,), torch.nan), SLATES[:4])


def test_the_tower_recovers_planted_examination():
    """Positions in random order, so that nothing else explains the clicks."""
    random = np.random.default_rng(0)
    n = 16_000
    frame = pd.DataFrame({"time": np.arange(n) * 20.0, "user": random.integers(0, 40, n)})
    frame["video"] = random.integers(0, 20, n)
    frame["position"] = np.tile(np.arange(1, 5), n // 4)
    attraction = torch.from_numpy(0.1 + 0.6 * (frame["video"].to_numpy() % 2)).float()
    slates = torch.arange(n // 4).repeat_interleave(4)
    planted = (1.0, 0.7, 0.5, 0.3)
    clicks = PositionClicks(planted)(attraction, slates, torch.tensor(frame["position"].to_numpy()))
    frame["click"] = clicks.double().numpy()
    data = impressions(frame, [RankingObjective("click")], numbers=[])
    settings = RankingSettings(hidden=16, width=16, buckets=128)
    trainer = DailyTrainer(settings, overhead=None)
    trainer.train(data)
    effect = position_effect(trainer.model, data, "click")
    assert list(effect.values()) == pytest.approx(planted, abs=0.12)
    trainer = DailyTrainer(replace(settings, position="none"), overhead=None)
    trainer.train(data, slice(0, 1))
    with raises("no-positions"):
        position_effect(trainer.model, data, "click")


def test_what_is_no_probability_or_position_is_refused():
    lists, positions = torch.zeros(2, dtype=torch.long), torch.tensor([1, 2])
    with raises("no-positions"):
        PositionClicks(())
    for make in (lambda: PositionClicks((1.0, 1.5)), lambda: CascadeClicks(after_click=-0.1)):
        with raises("invalid-probability"):
            make()
    for clicks in (PositionClicks((1.0, 0.5)), CascadeClicks()):
        with raises("invalid-probability"):
            clicks(torch.tensor([0.5, 2.0]), lists, positions)
        with raises("invalid-position"):
            clicks(torch.ones(2), lists, positions - 1)
        with raises("rows-differ"):
            clicks(torch.ones(3), lists, positions)
