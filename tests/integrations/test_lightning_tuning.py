"""Recipes in Lightning: phases, frozen blocks and the penalty are those of `FineTuning`."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from codes import raises
from schedulers import EPOCHS, RATE, MakeScheduler, every_scheduler, scheduled_rates
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from affinity.transfer import L2SP, RECIPES, LinearProbe, ProbeThenTune, Recipe, blocks_of

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


def trainer_of(folder: Path, epochs: int, callback: FineTuningCallback) -> pl.Trainer:
    return pl.Trainer(
        max_epochs=epochs,
        callbacks=[callback],
        default_root_dir=folder,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def fit(folder: Path, recipe: Recipe, epochs: int) -> tuple[Module, dict[str, Tensor], list[float]]:
    module = Module()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    trainer = trainer_of(folder, epochs, FineTuningCallback(recipe))
    generator = torch.Generator().manual_seed(0)
    rows = TensorDataset(torch.randn(32, 4, generator=generator))
    trainer.fit(module, DataLoader(rows, batch_size=8))
    rates = trainer.callbacks[0].tuning.learning_rates(trainer.optimizers[0])
    return module, before, list(rates.values())


def test_a_probe_leaves_a_lightning_module_s_trunk_bit_for_bit(tmp_path: Path) -> None:
    module, before, _ = fit(tmp_path, LinearProbe(), 2)
    moved = {n for n, value in module.state_dict().items() if not torch.equal(value, before[n])}
    assert moved == {"head.weight", "head.bias"}


def test_the_second_phase_unfreezes_the_trunk_at_its_rate(tmp_path: Path) -> None:
    module, before, rates = fit(tmp_path, ProbeThenTune(scale=0.5), 2)
    assert not torch.equal(module.trunk[0].weight, before["trunk.0.weight"])
    assert rates == pytest.approx([0.005] * len(rates))


class SumOfParameters(pl.LightningModule):
    """Every gradient is 1, so that a parameter moves by its rate."""

    def __init__(self, make_scheduler: MakeScheduler) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(nn.Linear(1, 1) for _ in range(3)))
        self.make_scheduler = make_scheduler
        self.weights: list[list[float]] = []

    def on_train_epoch_start(self) -> None:
        self.weights.append([layer.weight.item() for layer in self.layers])

    on_train_end = on_train_epoch_start

    def training_step(self, batch: tuple[Tensor], batch_idx: int) -> Tensor:  # noqa: ARG002
        self.log("loss", 1.0)
        return sum(p.sum() for p in self.parameters() if p.requires_grad)

    def configure_optimizers(self) -> dict[str, object]:
        optimizer = torch.optim.SGD(self.parameters(), lr=RATE)
        scheduler = {"scheduler": self.make_scheduler(optimizer), "monitor": "loss"}
        return {"optimizer": optimizer, "lr_scheduler": scheduler}


@every_scheduler
@pytest.mark.parametrize(
    "name",
    [
        name if name == "gradual unfreezing" else pytest.param(name, marks=pytest.mark.slow)
        for name in RECIPES
    ],
)
def test_rates_are_the_plan_s_scales_times_the_scheduler_s_rate(
    name: str, make_scheduler: MakeScheduler, tmp_path: Path
) -> None:
    module = SumOfParameters(make_scheduler)
    plan = replace(RECIPES[name](list(blocks_of(module)), EPOCHS), pull=0.0)
    norms = dict(zip(blocks_of(module), (1.0, 2.0, 4.0), strict=True))
    callback = FineTuningCallback(plan, norms=norms)
    trainer_of(tmp_path, EPOCHS, callback).fit(module, DataLoader(torch.zeros(1, 1)))
    scales = [
        list(callback.tuning.scales(phase).values())
        for phase in plan.phases
        for _ in range(phase.epochs)
    ]
    rates = scheduled_rates(make_scheduler)
    moved = [
        [one - other for one, other in zip(*pair, strict=True)]
        for pair in zip(module.weights, module.weights[1:], strict=False)
    ]
    assert moved == [
        pytest.approx([rate * scale for scale in row], abs=1e-6)
        for rate, row in zip(rates, scales, strict=True)
    ]


def test_an_unfrozen_normalization_trains_again(tmp_path: Path) -> None:
    module, before, _ = fit(tmp_path, ProbeThenTune(), 4)
    assert module.trunk[1].training
    assert not torch.equal(module.trunk[1].running_mean, before["trunk.1.running_mean"])


def test_a_fit_that_continues_re_initializes_nothing_and_keeps_its_source(tmp_path: Path) -> None:
    rows = DataLoader(TensorDataset(torch.randn(8, 4)), batch_size=8)
    module, path = Module(), tmp_path / "last.ckpt"
    plan = replace(L2SP(2.0)(["trunk.0", "head"], 3), fresh=("head",))
    first = trainer_of(tmp_path, 1, FineTuningCallback(plan))
    first.fit(module, rows)
    first.save_checkpoint(path)
    source = first.callbacks[0].tuning.source
    other = Module()
    callback = FineTuningCallback(plan)
    trainer_of(tmp_path, 1, callback).fit(other, rows, ckpt_path=path)  # nothing left to train
    assert all(torch.equal(value, callback.tuning.source[name]) for name, value in source.items())
    for name, value in module.state_dict().items():
        assert torch.equal(value, other.state_dict()[name])


def test_the_pull_holds_a_lightning_module_at_its_source(tmp_path: Path) -> None:
    def distance(pull: float) -> float:
        module, before, _ = fit(tmp_path, L2SP(pull), 6)
        return float((module.trunk[0].weight - before["trunk.0.weight"]).square().sum())

    assert distance(1000.0) < distance(0.0) / 5


def test_the_tuning_is_available_once_fitting_has_started() -> None:
    with raises("not-fitted"):
        _ = FineTuningCallback(LinearProbe()).tuning
