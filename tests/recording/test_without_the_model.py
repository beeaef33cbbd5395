"""A recorder that receives only the shared part leaves the rest of the run unchanged, too."""

import pytest
import torch
from codes import raises
from torch import nn

from affinity import Recorder


def run(watch: bool, shared: str = "module") -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    trunk = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2))
    heads = {
        name: nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 1))
        for name in ("a", "b")
    }
    model = nn.ModuleDict({"trunk": trunk, **heads})
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    part = trunk if shared == "module" else list(trunk.parameters())
    recorder = Recorder(shared=part, every=2, lookahead_every=1)
    for _ in range(12):
        inputs, target = torch.randn(16, 6), torch.randn(16, 1)

        def losses(inputs=inputs, target=target):
            hidden = trunk(inputs)
            return {name: (head(hidden) - target).square().mean() for name, head in heads.items()}

        now = losses()
        if watch:
            recorder.observe(now, closure=losses)
        optimizer.zero_grad()
        sum(now.values()).backward()
        optimizer.step()
    if watch:
        assert recorder.trace().lookahead_losses.isfinite().all()
        assert len(recorder.trace()) == 6
    return {**model.state_dict(), "random": torch.randn(3)}


@pytest.mark.parametrize("shared", ["module", "parameters"])
def test_a_run_recorded_by_its_shared_part_is_the_same_run(shared):
    plain, recorded = run(watch=False), run(watch=True, shared=shared)
    assert all(torch.equal(plain[name], recorded[name]) for name in plain)


def test_names_alone_do_not_replace_the_model():
    for shared in (None, "trunk", ["trunk"]):
        with raises("missing-model"):
            Recorder(shared=shared)
