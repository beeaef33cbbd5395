import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from codes import raises
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from affinity.recording import Recorder, Trace

pl = pytest.importorskip("lightning.pytorch")

from lightning.pytorch.core.optimizer import LightningOptimizer  # noqa: E402

from affinity.integrations.lightning import AffinityCallback  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning warns of workers and loggers


class Module(pl.LightningModule):
    def __init__(self, *, sets_attribute: bool = False) -> None:
        super().__init__()
        self.net = nn.ModuleDict(
            {
                "trunk": nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(0.3)),
                "depth": nn.Linear(6, 1),
                "edges": nn.Linear(6, 1),
            }
        )
        self.sets_attribute = sets_attribute

    def evaluated(self, batch: tuple[Tensor], batch_idx: int) -> dict[str, Tensor]:  # noqa: ARG002
        representation = self.net["trunk"](batch[0])
        return {
            task: (self.net[task](representation) - 1).square().mean()
            for task in ("depth", "edges")
        }

    def training_step(self, batch: tuple[Tensor], batch_idx: int) -> Any:
        losses = self.evaluated(batch, batch_idx)
        total = sum(losses.values(), torch.tensor(0.0))
        self.log("total", total)
        if self.sets_attribute:
            self.losses = losses
            return total
        return {"loss": total, "losses": losses}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=0.01)


def fit(
    folder: Path,
    callback: AffinityCallback | None,
    *,
    module: Module | None = None,
    checkpoint: str | None = None,
    **settings: Any,
) -> tuple[list[Tensor], Any]:
    pl.seed_everything(0, verbose=False)
    module = module or Module()
    rows = torch.randn(64, 4, generator=torch.Generator().manual_seed(1))
    trainer = pl.Trainer(
        **{
            "accelerator": "cpu",
            "max_epochs": 2,
            "callbacks": [callback] if callback else [],
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "default_root_dir": folder,
            **settings,
        }
    )
    trainer.fit(module, DataLoader(TensorDataset(rows), batch_size=8), ckpt_path=checkpoint)
    left = [*module.state_dict().values(), torch.get_rng_state()]
    return left, trainer


@pytest.mark.parametrize(
    "settings",
    [{}, {"accumulate_grad_batches": 4, "gradient_clip_val": 0.1}, {"precision": "bf16-mixed"}],
)
def test_a_recorded_fit_is_the_same_fit(tmp_path: Path, settings: dict[str, Any]) -> None:
    plain, _ = fit(tmp_path, None, **settings)
    callback = AffinityCallback("net.trunk", closure="evaluated", every=3, lookahead_every=1)
    recorded, trainer = fit(tmp_path, callback, **settings)
    assert all(torch.equal(one, two) for one, two in zip(plain, recorded, strict=True))
    trace = callback.trace()
    assert trace.tasks == ("depth", "edges")
    assert trace.steps.tolist() == [0, 3, 6, 9, 12, 15]
    assert trace.learning_rates is not None
    assert trace.learning_rates[0].item() == pytest.approx(0.01)
    assert trace.lookahead_losses is not None
    assert trace.lookahead_losses.isfinite().all()
    assert trainer.callback_metrics["total"].isfinite()


def test_losses_may_be_set_on_the_module(tmp_path: Path) -> None:
    callback = AffinityCallback("net.trunk", every=5)
    module = Module(sets_attribute=True)
    fit(tmp_path, callback, module=module)
    assert len(callback.trace()) == 4
    assert "training_step" not in vars(module)


def test_missing_losses_are_refused(tmp_path: Path) -> None:
    with raises("missing-losses"):
        fit(tmp_path, AffinityCallback("net.trunk", losses="of_tasks"))


def test_a_fit_resumes_with_its_trace(tmp_path: Path) -> None:
    whole = AffinityCallback("net.trunk", closure="evaluated", every=3, sources=1)
    fit(tmp_path, whole)
    first = AffinityCallback("net.trunk", closure="evaluated", every=3, sources=1)
    _, trainer = fit(tmp_path, first, max_epochs=1)
    trainer.save_checkpoint(tmp_path / "run.ckpt")
    resumed = AffinityCallback("net.trunk", closure="evaluated", every=3, sources=1)
    fit(tmp_path, resumed, checkpoint=str(tmp_path / "run.ckpt"))
    assert resumed.trace().steps.tolist() == whole.trace().steps.tolist()
    one, other = resumed.trace().gramians, whole.trace().gramians
    assert one is not None
    assert other is not None
    assert torch.equal(one.isnan(), other.isnan())


class Late(Module):
    """Makes its layers in one of Lightning's hooks, and has an optimizer per part."""

    def __init__(self, hook: str) -> None:
        super().__init__()
        self.hook, self.automatic_optimization = hook, False
        self.observe: Any = None
        self.net = nn.ModuleDict()

    def make(self) -> None:
        if not self.net:
            self.net = Module().net

    def setup(self, stage: str) -> None:  # noqa: ARG002
        if self.hook == "setup":
            self.make()

    def configure_model(self) -> None:
        self.make()

    def training_step(self, batch: tuple[Tensor], batch_idx: int) -> None:
        losses = self.evaluated(batch, batch_idx)
        self.observe(losses, lambda: self.evaluated(batch, batch_idx))
        self.manual_backward(sum(losses.values(), torch.tensor(0.0)))
        for optimizer in self.optimizers():
            optimizer.step()
            optimizer.zero_grad()

    def configure_optimizers(self) -> Any:
        heads = [*self.net["depth"].parameters(), *self.net["edges"].parameters()]
        trunk = torch.optim.Adam(self.net["trunk"].parameters(), lr=0.02)
        return [torch.optim.SGD(heads, lr=0.3), trunk]


@pytest.mark.parametrize("hook", ["setup", "configure_model"])
def test_layers_may_be_made_late_and_optimizers_may_be_several(tmp_path: Path, hook: str) -> None:
    callback = AffinityCallback("net.trunk", step="optimizer", every=3, lookahead_every=1)
    module = Late(hook)
    module.observe = callback.observe
    fit(tmp_path, callback, module=module)
    trace = callback.trace()
    assert trace.learning_rates is not None
    assert trace.learning_rates.tolist() == pytest.approx([0.02] * 6)
    assert trace.momentum_products is not None
    assert trace.optimizer_steps is not None
    assert trace.optimizer_steps.all()
    other = Late(hook)
    other.observe = callback.observe
    fit(tmp_path, callback, module=other)  # another run
    assert callback.recorder.optimizer is not None
    assert other.net["trunk"][0].weight is callback.recorder.optimizer.param_groups[0]["params"][0]


def test_a_step_that_was_set_on_the_module_stays(tmp_path: Path) -> None:
    module = Module()
    step = module.training_step
    module.training_step = lambda batch, batch_idx: step(batch, batch_idx)
    own = vars(module)["training_step"]
    fit(tmp_path, AffinityCallback("net.trunk", every=5), module=module)
    assert vars(module)["training_step"] is own


def test_wrapped_optimizers_look_ahead_as_the_plain_one() -> None:
    torch.manual_seed(0)
    module, rows = Module().eval(), torch.randn(8, 4)
    optimizer = torch.optim.Adam(module.net["trunk"].parameters(), lr=0.01)
    lookaheads: list[Tensor] = []
    prepared = pytest.importorskip("accelerate").Accelerator(cpu=True).prepare(optimizer)
    for each in (optimizer, LightningOptimizer(optimizer), prepared):
        recorder = Recorder(module, "net.trunk", optimizer=each, step="optimizer")
        recorder.observe(module.evaluated((rows,), 0), lambda: module.evaluated((rows,), 0))
        lookahead = recorder.trace().lookahead_losses
        assert lookahead is not None
        lookaheads.append(lookahead)
    assert torch.equal(lookaheads[0], lookaheads[1])
    assert torch.equal(lookaheads[0], lookaheads[2])


def fit_on_two_ranks(folder: Path) -> None:
    """What each of two processes runs: the same fit, plain and recorded."""
    torch.set_num_threads(1)
    settings = {"strategy": "ddp", "devices": 2, "accumulate_grad_batches": 2}
    plain, _ = fit(folder, None, **settings)
    callback = AffinityCallback("net.trunk", closure="evaluated", every=3, lookahead_every=1)
    recorded, trainer = fit(folder, callback, **settings)
    assert trainer.world_size == 2
    assert all(torch.equal(one, two) for one, two in zip(plain, recorded, strict=True))
    callback.trace().save(folder / f"{trainer.global_rank}.safetensors")


@pytest.mark.slow
@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="needs gloo")
def test_a_recorded_fit_on_two_ranks_is_the_same_fit(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2",
         __file__, str(tmp_path)],
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "GLOO_SOCKET_IFNAME": "lo"},
    )  # fmt: skip
    one, two = (Trace.load(tmp_path / f"{rank}.safetensors") for rank in range(2))
    assert one.steps.tolist() == two.steps.tolist() == [0, 3, 6]
    assert torch.equal(one.losses, two.losses)
    assert one.gramians is not None
    assert two.gramians is not None
    assert torch.allclose(one.gramians, two.gramians, rtol=1e-6)


if __name__ == "__main__":
    fit_on_two_ranks(Path(sys.argv[1]))
