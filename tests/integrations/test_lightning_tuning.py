"""Recipes in Lightning: phases, frozen blocks and the penalty are those of `FineTuning`."""

from pathlib import Path

import pytest
import torch
from codes import raises
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from affinity.transfer import L2SP, LinearProbe, ProbeThenTune, Recipe

pl = pytest.importorskip("lightning.pytorch")

from affinity.integrations.lightning_tuning import FineTuningCallback  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning warns of workers and loggers


class Module(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.trunk = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU())
        self.head = nn.Linear(6, 1)

    def training_step(self, batch: tuple[Tensor], batch_idx: int) -> Tensor:  # noqa: ARG002
        return (self.head(self.trunk(batch[0])) - 1).square().mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=0.01, weight_decay=0.1)


def fit(folder: Path, recipe: Recipe, epochs: int) -> tuple[Module, dict[str, Tensor], list[float]]:
    module = Module()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    trainer = pl.Trainer(
        max_epochs=epochs,
        callbacks=[FineTuningCallback(recipe)],
        default_root_dir=folder,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    generator = torch.Generator().manual_seed(0)
    rows = TensorDataset(torch.randn(32, 4, generator=generator))
    trainer.fit(module, DataLoader(rows, batch_size=8))
    return module, before, [group["lr"] for group in trainer.optimizers[0].param_groups]


def test_a_probe_leaves_a_lightning_module_s_trunk_bit_for_bit(tmp_path: Path) -> None:
    module, before, _ = fit(tmp_path, LinearProbe(), 2)
    moved = {n for n, value in module.state_dict().items() if not torch.equal(value, before[n])}
    assert moved == {"head.weight", "head.bias"}


def test_the_second_phase_unfreezes_the_trunk_at_its_rate(tmp_path: Path) -> None:
    module, before, rates = fit(tmp_path, ProbeThenTune(scale=0.5), 2)
    assert not torch.equal(module.trunk[0].weight, before["trunk.0.weight"])
    assert rates == pytest.approx([0.005] * len(rates))


def test_the_pull_holds_a_lightning_module_at_its_source(tmp_path: Path) -> None:
    def distance(pull: float) -> float:
        module, before, _ = fit(tmp_path, L2SP(pull), 6)
        return float((module.trunk[0].weight - before["trunk.0.weight"]).square().sum())

    assert distance(1000.0) < distance(0.0) / 5


def test_the_tuning_is_available_once_fitting_has_started() -> None:
    with raises("not-fitted"):
        _ = FineTuningCallback(LinearProbe()).tuning
