"""One task per batch, many tasks per batch by row, and losses that accumulation does not scale."""

from typing import Any

import pytest
import torch
from codes import raises, warns
from torch import Tensor, nn

from affinity import Recorder
from affinity.integrations.rows import LatestRows
from affinity.recording import rows_by_task, select_rows

TASKS = ["code", "prose", "speech"]


def trunk_and_heads() -> nn.ModuleDict:
    torch.manual_seed(0)
    return nn.ModuleDict({"trunk": nn.Linear(4, 6), **{task: nn.Linear(6, 1) for task in TASKS}})


def loss_by_row(model: nn.ModuleDict, inputs: Tensor, labels: list[str]) -> Tensor:
    shared = model["trunk"](inputs).tanh()
    outputs = torch.stack([model[task](row)[0] for task, row in zip(labels, shared, strict=True)])
    return (outputs - 1).square()


@pytest.mark.parametrize("as_positions", [False, True])
def test_rows_of_a_plain_loop_are_averaged_by_task(as_positions: bool) -> None:
    model, inputs = trunk_and_heads(), torch.randn(7, 4)
    labels = ["code", "speech", "code", "prose", "prose", "code", "speech"]
    given = torch.tensor([TASKS.index(task) for task in labels]) if as_positions else labels
    recorder = Recorder(model, "trunk", tasks=TASKS, every=1, lookahead_every=1)
    rows = loss_by_row(model, inputs, labels)
    recorder.observe(rows, lambda: loss_by_row(model, inputs, labels), task=given)
    trace = recorder.trace()
    of_task = [torch.tensor([label == task for label in labels]) for task in TASKS]
    expected = torch.stack([rows[mask].mean() for mask in of_task])
    torch.testing.assert_close(trace.losses[0], expected.detach())
    assert trace.gramians is not None
    assert trace.lookahead_losses is not None
    assert trace.gramians.isfinite().all()
    assert trace.lookahead_losses.isfinite().all()


def test_labels_that_do_not_fit_are_refused() -> None:
    model = trunk_and_heads()
    rows = loss_by_row(model, torch.randn(2, 4), ["code", "prose"])
    recorder = Recorder(model, "trunk", tasks=TASKS, every=1)
    for loss, labels, code in (
        (rows, ["code", "music"], "unknown-task"),
        (rows, [0, 3], "unknown-task"),
        (rows, ["code", "prose", "code"], "loss-per-row"),
        (rows.mean(), ["code", "prose"], "loss-per-row"),
        ({"code": rows.mean()}, "code", "no-tensor"),
    ):
        with raises(code):
            recorder.observe(loss, task=labels)


def test_rows_are_taken_from_nested_batches() -> None:
    batch = ({"x": torch.arange(3), "names": ["a", "b", "c"]}, torch.arange(6).reshape(3, 2), 0.5)
    inputs, targets, scale = select_rows(batch, torch.tensor([True, False, True]))
    assert (inputs["x"].tolist(), inputs["names"], scale) == ([0, 2], ["a", "c"], 0.5)
    assert targets.tolist() == [[0, 1], [4, 5]]
    columns = select_rows([torch.arange(2), torch.arange(2)], torch.tensor([False, True]))
    assert [column.tolist() for column in columns] == [[1], [1]]
    assert select_rows([{"box": 1}, {"box": 2}], torch.tensor([False, True])) == [{"box": 2}]


class Mixture(torch.utils.data.Dataset[dict[str, Any]]):
    """48 rows; in blocks of one task, or mixed."""

    def __init__(self, *, is_mixed: bool) -> None:
        self.inputs = torch.randn(48, 4, generator=torch.Generator().manual_seed(1))
        self.is_mixed = is_mixed

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, row: int) -> dict[str, Any]:
        task = TASKS[(row if self.is_mixed else row // 4) % 3]
        return {"inputs": self.inputs[row], "task": task}


# --- Lightning


def fit(callback: Any, *, is_mixed: bool, accumulate: int = 1, kind: str = "loss") -> None:
    pl = pytest.importorskip("lightning.pytorch")

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = trunk_and_heads()
            self.automatic_optimization = kind != "manual"

        def evaluate(self, batch: dict[str, Any], batch_idx: int) -> Tensor:  # noqa: ARG002
            return loss_by_row(self.net, batch["inputs"], batch["task"]).mean()

        def training_step(self, batch: dict[str, Any], batch_idx: int) -> Any:
            loss = self.evaluate(batch, batch_idx)
            if kind == "rows":
                rows = loss_by_row(self.net, batch["inputs"], batch["task"])
                return {"loss": rows.mean(), "rows": rows}
            if kind == "manual":
                rows = loss_by_row(self.net, batch["inputs"], batch["task"])
                callback.observe(rows, task=batch["task"])
                self.optimizers().zero_grad()
                self.manual_backward(loss)
                self.optimizers().step()
            return loss

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.0 if accumulate else 0.1)

    loader = torch.utils.data.DataLoader(Mixture(is_mixed=is_mixed), batch_size=4)
    settings = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=1, callbacks=[callback], enable_model_summary=False,
        accumulate_grad_batches=1 if kind == "manual" else accumulate, **settings,
    )  # fmt: skip
    trainer.fit(Module(), loader)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("is_mixed", [False, True])
def test_lightning_measures_every_pair_whatever_is_accumulated(is_mixed: bool) -> None:
    pytest.importorskip("lightning.pytorch")
    from affinity.integrations.lightning import AffinityCallback

    traces = []
    for accumulate in (1, 2, 4):
        callback = AffinityCallback(
            "net.trunk", closure="evaluate", task="task", tasks=TASKS, every=3, after=2,
            lookahead_every=1, learning_rate=0.1,
        )  # fmt: skip
        fit(callback, is_mixed=is_mixed, accumulate=accumulate)
        traces.append(callback.trace())
    assert traces[0].gramians.isfinite().all()
    assert traces[0].lookahead_losses.isfinite().all()
    for other in traces[1:]:
        torch.testing.assert_close(other.losses, traces[0].losses)
        torch.testing.assert_close(other.gramians, traces[0].gramians)
        torch.testing.assert_close(other.lookahead_losses, traces[0].lookahead_losses)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["rows", "manual"])
def test_lightning_takes_losses_per_row(kind: str) -> None:
    pytest.importorskip("lightning.pytorch")
    from affinity.integrations.lightning import AffinityCallback

    task = {"task": "task", "loss_by_row": "rows"} if kind == "rows" else {}
    callback = AffinityCallback("net.trunk", tasks=TASKS, every=1, **task)
    fit(callback, is_mixed=True, kind=kind)
    assert callback.trace().gramians[:, ~torch.eye(3, dtype=torch.bool)].isfinite().any()


# --- Transformers


def train(callback: Any, folder: Any, accumulate: int, *, is_mixed: bool, **settings: Any) -> None:
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    transformers.set_seed(0)
    config = transformers.GPT2Config(
        vocab_size=20, n_embd=8, n_layer=1, n_head=2, n_positions=8, resid_pdrop=0.0,
        embd_pdrop=0.0, attn_pdrop=0.0,
    )  # fmt: skip
    rows = []
    for row in range(48):
        tokens = torch.randint(20, (6,), generator=torch.Generator().manual_seed(row))
        labels = tokens.where(torch.arange(6) < 3 + row % 4, -100)  # lengths differ
        task = TASKS[(row if is_mixed else row // 4) % 3]
        rows.append({"input_ids": tokens, "labels": labels, "task": task})

    from affinity.integrations.transformers import KeepColumn

    def collate(batch: list[dict[str, Any]]) -> dict[str, Any]:
        return {name: torch.stack([row[name] for row in batch]) for name in ("input_ids", "labels")}

    class InOrder(transformers.Trainer):
        def _get_train_sampler(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ARG002
            return torch.utils.data.SequentialSampler(self.train_dataset)

    arguments = transformers.TrainingArguments(
        str(folder), per_device_train_batch_size=4, num_train_epochs=1, learning_rate=0.0,
        report_to=[], save_strategy="no", remove_unused_columns=False, disable_tqdm=True,
        use_cpu=True, gradient_accumulation_steps=accumulate, **settings,
    )  # fmt: skip
    model = transformers.GPT2LMHeadModel(config)
    InOrder(
        model, arguments, train_dataset=rows, data_collator=KeepColumn(collate, "task"),
        callbacks=[callback],
    ).train()  # fmt: skip


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("is_mixed", [False, True])
def test_transformers_measure_every_pair_whatever_is_accumulated(
    tmp_path: Any, is_mixed: bool
) -> None:
    pytest.importorskip("transformers")
    from affinity.integrations.transformers import AffinityTrainerCallback

    traces = []
    for accumulate in (1, 2, 4):
        callback = AffinityTrainerCallback(
            "transformer.h", task="task", tasks=TASKS, every=3, after=2, lookahead_every=1,
            learning_rate=0.1,
        )  # fmt: skip
        train(callback, tmp_path, accumulate, is_mixed=is_mixed)
        traces.append(callback.trace())
    assert traces[0].gramians.isfinite().all()
    assert traces[0].losses.mean() > 2  # near log(20) = 3, not a quarter of it
    for other in traces[1:]:
        torch.testing.assert_close(other.losses, traces[0].losses)
        torch.testing.assert_close(other.gramians, traces[0].gramians)
        torch.testing.assert_close(other.lookahead_losses, traces[0].lookahead_losses)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_run_without_pairs_says_so_at_its_end() -> None:
    from affinity.integrations.rows import warn_of_missing_pairs

    model = trunk_and_heads()
    recorder = Recorder(model, "trunk", tasks=TASKS, every=1)
    with warns("nothing-recorded"):
        warn_of_missing_pairs(recorder)
    recorder.observe(loss_by_row(model, torch.randn(2, 4), ["code"] * 2).mean(), task="code")
    with warns("no-pairs"):
        warn_of_missing_pairs(recorder)
    recorder.observe(loss_by_row(model, torch.randn(2, 4), ["speech"] * 2).mean(), task="speech")
    with warns("absent-task"):  # no row of "prose" was read
        warn_of_missing_pairs(recorder)


def test_a_row_that_packs_several_tasks_is_refused() -> None:
    for labels in (torch.tensor([[0, 0, 1], [1, 1, 1]]), [["code", "prose"], ["code", "code"]]):
        with raises("packed-rows"):
            rows_by_task(labels, TASKS)
    flat = {"input_ids": torch.ones(1, 9), "position_ids": torch.ones(1, 9)}  # padding-free
    with raises("packed-rows"):
        LatestRows().add(flat, rows_by_task(["code", "prose"], TASKS))
    LatestRows().add(flat, rows_by_task(["code", "code"], TASKS))
    rows = rows_by_task(torch.tensor([[0, 0], [2, 2]]), TASKS)  # a label per position
    assert {task: mask.tolist() for task, mask in rows.items()} == {
        "code": [True, False],
        "speech": [False, True],
    }
