import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from codes import raises
from torch import Tensor, nn
from torch.utils.data import Dataset

from affinity.recording import Trace

transformers = pytest.importorskip("transformers")
pytest.importorskip("accelerate")

from affinity.integrations.transformers import FILE, AffinityTrainerCallback, KeepColumn  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # Transformers warns of much else

VOCABULARY, LENGTH = 20, 6


@dataclass
class Output(transformers.utils.ModelOutput):
    loss: Tensor | None = None
    task_losses: dict[str, Tensor] | None = None


def gpt2() -> Any:
    return transformers.GPT2Config(
        vocab_size=VOCABULARY, n_positions=LENGTH, n_embd=8, n_layer=2, n_head=2,
        bos_token_id=0, eos_token_id=0,
    )  # fmt: skip


class TwoHeads(nn.Module):
    """A small GPT-2 with random weights under two heads."""

    def __init__(self) -> None:
        super().__init__()
        self.transformer = transformers.GPT2Model(gpt2())
        self.heads = nn.ModuleDict({"sum": nn.Linear(8, 1), "first": nn.Linear(8, 1)})

    def forward(self, input_ids: Tensor, labels: Tensor) -> Output:
        hidden = self.transformer(input_ids).last_hidden_state[:, -1]
        losses = {
            task: (head(hidden).squeeze(-1) - labels[:, place]).square().mean()
            for place, (task, head) in enumerate(self.heads.items())
        }
        return Output(loss=sum(losses.values()), task_losses=losses)


class WithAdapter(transformers.GPT2LMHeadModel):
    """Frozen but for a low-rank adapter, as LoRA trains."""

    def __init__(self) -> None:
        super().__init__(gpt2())
        self.requires_grad_(requires_grad=False)
        self.lora_a = nn.Linear(8, 2, bias=False)
        self.lora_b = nn.Linear(2, 8, bias=False)
        self.transformer.register_forward_hook(self._adapt)

    def _adapt(self, module: nn.Module, inputs: Any, output: Any) -> Any:  # noqa: ARG002
        output.last_hidden_state = output.last_hidden_state + self.lora_b(
            self.lora_a(output.last_hidden_state)
        )
        return output


class Rows(Dataset[dict[str, Any]]):
    """Rows with labels of both tasks, or of a mixture: blocks of four rows of one task."""

    def __init__(self, *, is_mixture: bool = False) -> None:
        self.tokens = torch.randint(
            VOCABULARY, (32, LENGTH), generator=torch.Generator().manual_seed(1)
        )
        self.is_mixture = is_mixture

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, row: int) -> dict[str, Any]:
        tokens = self.tokens[row]
        if self.is_mixture:
            task = ("code", "prose")[row // 4 % 2]
            return {"input_ids": tokens, "labels": tokens, "source": task}
        labels = torch.stack([tokens.float().mean() / 10, tokens[0].float() / 10])
        return {"input_ids": tokens, "labels": labels}


def collate(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        name: [row[name] for row in rows]
        if name == "source"
        else torch.stack([row[name] for row in rows])
        for name in rows[0]
    }


class InOrder(transformers.Trainer):
    """A mixture that comes in blocks."""

    def _get_train_sampler(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ARG002
        return torch.utils.data.SequentialSampler(self.train_dataset)


def train(
    folder: Path,
    callback: AffinityTrainerCallback | None,
    make: Callable[[], nn.Module] = TwoHeads,
    *,
    is_mixture: bool = False,
    resume: str | None = None,
    **settings: Any,
) -> list[Tensor]:
    transformers.set_seed(0)
    model = make()
    arguments = transformers.TrainingArguments(
        **{
            "output_dir": str(folder),
            "per_device_train_batch_size": 4,
            "num_train_epochs": 1,
            "learning_rate": 0.01,
            "report_to": [],
            "save_strategy": "no",
            "remove_unused_columns": False,
            "disable_tqdm": True,
            "use_cpu": True,
            **settings,
        }
    )
    trainer = InOrder(
        model,
        arguments,
        train_dataset=Rows(is_mixture=is_mixture),
        data_collator=collate,
        callbacks=[callback] if callback else [],
    )
    trainer.train(resume_from_checkpoint=resume)
    return [*model.state_dict().values(), torch.get_rng_state()]


@pytest.mark.parametrize(
    ("settings", "step"),
    [({}, "optimizer"), ({"gradient_accumulation_steps": 2, "bf16": True}, "gradient")],
)
def test_a_recorded_run_of_the_trainer_is_the_same_run(
    tmp_path: Path, settings: dict[str, Any], step: str
) -> None:
    plain = train(tmp_path, None, **settings)
    callback = AffinityTrainerCallback("transformer", every=3, lookahead_every=1, step=step)
    recorded = train(tmp_path, callback, **settings)
    assert all(torch.equal(one, two) for one, two in zip(plain, recorded, strict=True))
    trace = callback.trace()
    assert trace.tasks == ("sum", "first")
    assert trace.steps.tolist() == [0, 3, 6]
    assert trace.learning_rates is not None
    assert trace.learning_rates[0].item() == pytest.approx(0.01)
    assert trace.lookahead_losses is not None
    assert trace.lookahead_losses.isfinite().all()


@pytest.mark.parametrize("task", ["source", lambda inputs: str(inputs["source"][0])])
def test_a_mixture_is_recorded_on_an_adapter(tmp_path: Path, task: Any) -> None:
    make: Callable[[], nn.Module] = WithAdapter
    if callable(task):  # then the column stays, and the model has to take it
        make = Tolerant
    plain = train(tmp_path, None, Tolerant, is_mixture=True)
    callback = AffinityTrainerCallback(
        "lora_*", task=task, tasks=["code", "prose"], every=1, after=2, lookahead_every=1
    )
    recorded = train(tmp_path, callback, make, is_mixture=True)
    assert all(torch.equal(one, two) for one, two in zip(plain, recorded, strict=True))
    trace = callback.trace()
    assert trace.steps.tolist() == [2, 3, 4, 5, 6, 7]
    assert trace.gramians is not None
    assert trace.gramians.isfinite().all()
    assert trace.lookahead_losses is not None
    assert trace.lookahead_losses.isfinite().all()
    assert "32 numbers in 2 parameters of lora_a, lora_b" in callback.recorder.describe()


class Tolerant(WithAdapter):
    def forward(self, *args: Any, source: object = None, **kwargs: Any) -> Any:  # noqa: ARG002
        return super().forward(*args, **kwargs)


def test_the_trainer_resumes_with_its_trace(tmp_path: Path) -> None:
    whole = AffinityTrainerCallback("transformer", every=3, sources=1)
    train(tmp_path / "whole", whole)
    settings = {"save_strategy": "steps", "save_steps": 4}
    first = AffinityTrainerCallback("transformer", every=3, sources=1)
    train(tmp_path / "run", first, **settings)
    checkpoint = tmp_path / "run" / "checkpoint-4"
    assert (checkpoint / FILE).exists()
    resumed = AffinityTrainerCallback("transformer", every=3, sources=1)
    train(tmp_path / "run", resumed, resume=str(checkpoint), **settings)
    one, other = resumed.trace(), whole.trace()
    assert one.steps.tolist() == other.steps.tolist() == [0, 3, 6]
    assert one.gramians is not None
    assert other.gramians is not None
    assert torch.equal(one.gramians.nan_to_num(), other.gramians.nan_to_num())


def test_unsuitable_outputs_and_inputs_are_refused(tmp_path: Path) -> None:
    with raises("missing-losses"):
        train(tmp_path, AffinityTrainerCallback("transformer", losses="of_tasks"))
    with raises("missing-tasks"):
        AffinityTrainerCallback(task="source")
    with raises("packed-rows"):  # what packing of TRL leaves of a row
        KeepColumn(collate, "source")([{"input_ids": [1, 2], "seq_lengths": [1, 1]}])
    mixture = AffinityTrainerCallback("transformer", task="domain", tasks=["code", "prose"])
    with raises("missing-input"):
        train(tmp_path, mixture)


def train_on_two_ranks(folder: Path) -> None:
    """What each of two processes runs: the same training, plain and recorded."""
    torch.set_num_threads(1)
    settings = {"gradient_accumulation_steps": 2, "per_device_train_batch_size": 2}
    plain = train(folder, None, **settings)
    callback = AffinityTrainerCallback("transformer", every=3, lookahead_every=1)
    recorded = train(folder, callback, **settings)
    assert torch.distributed.get_world_size() == 2
    assert all(torch.equal(one, two) for one, two in zip(plain, recorded, strict=True))
    callback.trace().save(folder / f"{torch.distributed.get_rank()}.safetensors")


@pytest.mark.slow
@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="needs gloo")
def test_a_recorded_run_on_two_ranks_is_the_same_run(tmp_path: Path) -> None:
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
    train_on_two_ranks(Path(sys.argv[1]))
