"""Time and memory of linearized fine-tuning: scripts/bench linearize [--only record|rows|predict].

`record`: one row of 64 tokens by number of parameters, all of them or LoRA of rank 16, in time of
the processor relative to a plain forward and backward pass of the same row. `rows`: memory by
number of rows. `predict`: one prediction by number of data sets. Each point runs in a process of
its own.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional

import affinity
from affinity.estimates import DataStatistics, Linearization

OUT = Path("reports/bench/linearize")
SIZES = {"1M": (128, 4), "10M": (320, 8), "100M": (768, 14)}
"""Width and layers of a decoder with about so many parameters."""
N_TOKENS, LENGTH = 1000, 64
COUNTS, ROWS = (6, 24, 96, 256), (50, 200)


class LowRank(nn.Module):
    def __init__(self, layer: nn.Linear, rank: int = 16) -> None:
        super().__init__()
        self.layer = layer
        self.lora_a = nn.Parameter(torch.randn(rank, layer.in_features) * 0.02)
        self.lora_b = nn.Parameter(torch.zeros(layer.out_features, rank))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.layer(inputs) + inputs @ self.lora_a.T @ self.lora_b.T


class Layer(nn.Module):
    def __init__(self, width: int, wrap) -> None:
        super().__init__()
        self.norm, self.heads = nn.LayerNorm(width), max(1, width // 64)
        self.qkv, self.mix = wrap(nn.Linear(width, 3 * width)), wrap(nn.Linear(width, width))
        self.widen, self.narrow = (
            wrap(nn.Linear(width, 4 * width)),
            wrap(nn.Linear(4 * width, width)),
        )

    def forward(self, hidden: Tensor) -> Tensor:
        rows, length, width = hidden.shape
        q, k, v = (
            self.qkv(self.norm(hidden)).view(rows, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        )
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        hidden = hidden + self.mix(mixed.transpose(1, 2).reshape(rows, length, width))
        return hidden + self.narrow(functional.gelu(self.widen(hidden)))


def decoder(size: str, what: str) -> nn.Module:
    torch.manual_seed(0)
    width, layers = SIZES[size]
    is_lora = what == "LoRA"
    parts = [Layer(width, LowRank if is_lora else lambda layer: layer) for _ in range(layers)]
    model = nn.Sequential(nn.Embedding(N_TOKENS, width), *parts, nn.Linear(width, N_TOKENS))
    if is_lora:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_("lora" in name)
    return model


def batch(rows: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(N_TOKENS, (rows, LENGTH), generator=generator)
    return tokens, tokens.clone()


def record(size: str, what: str, rows: int) -> dict[str, object]:
    model, tokens = decoder(size, what), batch(rows, 0)
    chosen = [parameter for parameter in model.parameters() if parameter.requires_grad]
    plain: list[float] = []
    for row in range(min(4, rows)):
        began = time.process_time()
        logits = model(tokens[0][row : row + 1])[0, :-1]
        loss = functional.cross_entropy(logits, tokens[1][row, 1:])
        torch.autograd.grad(loss, chosen)
        plain.append(time.process_time() - began)
    del loss, logits
    before = peak()
    began = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        made = affinity.linearize(
            *(model, {"a": [tokens]}, {"a": [batch(1, 1)]}, "next token"),
            ridge=1.0,
            rows=rows,
            gradients=folder,
            bits=8,
        )
        seconds = (time.process_time() - began) / (rows + 1)
        size_of_file = (Path(folder) / "training-0-0.npy").stat().st_size
    return {
        "size": size,
        "trained": what,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "trained_parameters": made.n_parameters,
        "rows": rows,
        "plain_ms": round(1000 * min(plain), 1),
        "ms_per_row": round(1000 * seconds, 1),
        "times_plain": round(seconds / min(plain), 2),
        "file_bytes": size_of_file,
        "more_mb": round(peak() - before),
        "peak_mb": round(peak()),
    }


def predict(count: int) -> dict[str, object]:
    torch.manual_seed(0)
    d = 200
    roots = torch.randn(count, d, 2 * d).double()
    names = tuple(f"data {number}" for number in range(count))
    each = torch.full((count,), 500)
    before = peak()
    statistics = DataStatistics(
        names,
        torch.ones(count).double(),
        torch.randn(count, d).double() / d**0.5,
        roots @ roots.transpose(1, 2) / d,
        each,
        each,
    )
    made = Linearization(statistics, statistics, 1.0, ("w",), 10**6, dict.fromkeys(names, 0))
    row: dict[str, object] = {
        "data_sets": count,
        "megabytes": round(2 * count * d * d * 8 / 1e6, 1),
    }
    for size in (2, 6):
        group = list(names[:size])
        made.losses(group, names[:1])
        times: list[float] = []
        for _ in range(50):
            began = time.perf_counter()
            made.losses(group, names[:1])
            times.append(time.perf_counter() - began)
        row[f"ms_group_of_{size}"] = round(1000 * sorted(times)[len(times) // 2], 3)
    began = time.process_time()
    made.losses(names)
    row["ms_all_onto_all"] = round(1000 * (time.process_time() - began), 1)
    return {**row, "more_mb": round(peak() - before)}


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def points(only: str | None):
    if only in (None, "predict"):
        yield from (("predict", [count]) for count in COUNTS)
    if only in (None, "record"):
        yield from (
            ("record", [s, w, 2 if s == "100M" else 6]) for s in SIZES for w in ("all", "LoRA")
        )
    if only in (None, "rows"):
        yield from (("rows", ["1M", "LoRA", count]) for count in ROWS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=("record", "rows", "predict"))
    parser.add_argument("--point")
    arguments = parser.parse_args()
    if arguments.point:
        part, values = json.loads(arguments.point)
        torch.set_num_threads(1)
        print(json.dumps((predict if part == "predict" else record)(*values)))
        return
    tables: dict[str, list[dict[str, object]]] = {}
    for part, values in points(arguments.only):
        command = [sys.executable, __file__, "--point", json.dumps([part, values])]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        tables.setdefault(part, []).append(json.loads(done.stdout.splitlines()[-1]))
        OUT.mkdir(parents=True, exist_ok=True)
        pd.DataFrame(tables[part]).to_csv(OUT / f"{part}.csv", index=False)
        print(part, tables[part][-1], flush=True)


if __name__ == "__main__":
    main()
