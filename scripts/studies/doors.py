"""The same eight targets of handwritten digits, recorded through each of the three doors.

A plain loop, Lightning and Transformers' Trainer (a small GPT-2 that reads the pixels as tokens)
each train once under a recorder; what each estimates goes to reports/doors, as tables, pictures and
a page of Markdown.

    PYTHONPATH=. python scripts/studies/doors.py
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import lightning.pytorch as pl
import torch
import transformers
from scipy.stats import spearmanr
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from affinity import AffinityMatrix, GradientCosine, Problem, Recorder, Trace, load_digits
from affinity.integrations.lightning import AffinityCallback
from affinity.integrations.transformers import AffinityTrainerCallback
from affinity.report import Heatmap

BATCH, RATE, LEVELS = 64, 0.003, 17


def losses_of(
    problem: Problem, predictions: dict[str, Tensor], targets: Tensor
) -> dict[str, Tensor]:
    return {
        task.name: task.loss(predictions[task.name], targets[:, place])
        for place, task in enumerate(problem.tasks)
    }


def plain_loop(problem: Problem, rows: TensorDataset, epochs: int) -> tuple[Trace, str]:
    network = problem.network()
    optimizer = torch.optim.Adam(network.parameters(), lr=RATE)
    recorder = Recorder(network, "trunk", optimizer=optimizer, every=5)
    for _ in range(epochs):
        for inputs, targets in DataLoader(rows, BATCH, shuffle=True):

            def closure(inputs: Tensor = inputs, targets: Tensor = targets) -> dict[str, Tensor]:
                return losses_of(problem, network(inputs), targets)

            losses = closure()
            recorder.observe(losses, closure=closure)
            torch.stack(list(losses.values())).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
    return recorder.trace(), recorder.describe()


class Module(pl.LightningModule):
    def __init__(self, problem: Problem) -> None:
        super().__init__()
        self.problem = problem
        self.net = problem.network()

    def losses(self, batch: list[Tensor], batch_idx: int) -> dict[str, Tensor]:  # noqa: ARG002
        return losses_of(self.problem, self.net(batch[0]), batch[1])

    def training_step(self, batch: list[Tensor], batch_idx: int) -> dict[str, Any]:
        losses = self.losses(batch, batch_idx)
        return {"loss": torch.stack(list(losses.values())).sum(), "losses": losses}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=RATE)


def lightning(problem: Problem, rows: TensorDataset, epochs: int) -> tuple[Trace, str]:
    callback = AffinityCallback("net.trunk", closure="losses", every=5)
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        callbacks=[callback],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Module(problem), DataLoader(rows, BATCH, shuffle=True))
    return callback.trace(), callback.recorder.describe()


@dataclass
class Output(transformers.utils.ModelOutput):
    loss: Tensor | None = None
    task_losses: dict[str, Tensor] | None = None


class Reader(nn.Module):
    """A small GPT-2 with random weights reads the pixels; one linear head a task."""

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        self.problem = problem
        self.transformer = transformers.GPT2Model(
            transformers.GPT2Config(
                vocab_size=LEVELS, n_positions=64, n_embd=32, n_layer=2, n_head=2,
                bos_token_id=0, eos_token_id=0,
            )
        )  # fmt: skip
        self.heads = nn.ModuleList(nn.Linear(32, task.n_outputs) for task in problem.tasks)

    def forward(self, input_ids: Tensor, labels: Tensor) -> Output:
        hidden = self.transformer(input_ids).last_hidden_state.mean(dim=1)
        predictions = {
            task.name: head(hidden)
            for task, head in zip(self.problem.tasks, self.heads, strict=True)
        }
        losses = losses_of(self.problem, predictions, labels)
        return Output(loss=torch.stack(list(losses.values())).sum(), task_losses=losses)


def trainer(problem: Problem, rows: TensorDataset, epochs: int) -> tuple[Trace, str]:
    callback = AffinityTrainerCallback("transformer", every=5)
    examples = [
        {"input_ids": (inputs * (LEVELS - 1)).round().long(), "labels": targets}
        for inputs, targets in rows
    ]
    with TemporaryDirectory() as folder:
        arguments = transformers.TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=BATCH,
            num_train_epochs=epochs,
            learning_rate=RATE,
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
            use_cpu=True,
        )
        transformers.Trainer(
            Reader(problem), arguments, train_dataset=examples, callbacks=[callback]
        ).train()
    return callback.trace(), callback.recorder.describe()


DOORS = {"plain loop": plain_loop, "Lightning": lightning, "Transformers": trainer}


def agreement(one: AffinityMatrix, other: AffinityMatrix) -> float:
    """Rank correlation over pairs of different tasks."""
    apart = ~torch.eye(len(one.tasks), dtype=torch.bool)
    return float(spearmanr(one.values[apart].numpy(), other.values[apart].numpy()).statistic)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path("reports/doors"))
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    chosen.output.mkdir(parents=True, exist_ok=True)
    problem = load_digits()
    rows = TensorDataset(problem.development.inputs, problem.development.targets)
    lines = [
        "# Three doors",
        "",
        "Gradient cosines of eight targets of scikit-learn's digits, recorded in one run through "
        f"each door ({chosen.epochs} epochs). Made by `PYTHONPATH=. python scripts/studies/doors.py"
        f" --epochs {chosen.epochs}`.",
        "",
    ]
    matrices: dict[str, AffinityMatrix] = {}
    for door, run in DOORS.items():
        torch.manual_seed(0)
        trace, words = run(problem, rows, chosen.epochs)
        matrices[door] = GradientCosine()(trace)
        name = door.lower().replace(" ", "_")
        matrices[door].frame().to_csv(chosen.output / f"{name}.csv", index=False)
        Heatmap(matrices[door]).save(chosen.output / f"{name}.png")
        lines += [f"## {door}", "", *(f"- {line}" for line in words.splitlines()), ""]
        lines[-1:] = [
            f"- First-order error of the lookahead: {trace.first_order_error():.3f}"
            + (
                " (its dropout masks are not those of the gradients)."
                if door == "Transformers"
                else "."
            ),
            "",
            f"![Gradient cosines, {door}]({name}.png)",
            "",
        ]
    lines += ["## Agreement", "", "Rank correlation over pairs of different tasks:", ""]
    names = list(matrices)
    for place, one in enumerate(names):
        lines += [
            f"- {one} and {other}: {agreement(matrices[one], matrices[other]):.2f}"
            for other in names[place + 1 :]
        ]
    (chosen.output / "README.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
