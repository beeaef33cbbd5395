"""Translation with few sentences: what it is worth to know the grammar of two other languages.

    python scripts/studies/few_shot_translation.py

The example of CS-330's lecture on transfer and meta-learning, on invented languages. A sentence has
five concepts (noun, adjective, verb, noun, adjective). A language gives every concept a word of its
own, and a grammar says which concept stands at which of six places, one of them a particle. Three
languages share a grammar; two of them are learned from many sentences, the third from few.

A network reads a place and the concepts, and predicts the word. Its trunk is an attention from
places to concepts, which can hold the grammar; its head is the vocabulary. "Knows the grammar"
starts with the trunk of the two other languages, "wrong grammar" with that of two languages of
another grammar, "from scratch" with a random trunk; the head is always new.
"""

import argparse
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import torch
from intervals import interval, markdown
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from affinity.transfer import FineTuning, FullFineTuning

mpl.use("agg")
from matplotlib import pyplot as plt

ROLES = (8, 6, 6, 8, 6)  # concepts of each kind: nouns, adjectives, verbs, nouns, adjectives
N_CONCEPTS, N_PLACES = sum(ROLES), len(ROLES) + 1
SIZES = (2, 4, 8, 16, 32, 64)
WIDTH, STEPS, TEST = 32, 300, 200


class Translator(nn.Module):
    """Attention from places to concepts (grammar), then a word for the concept (vocabulary)."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(Grammar())
        self.head = nn.Linear(WIDTH, N_CONCEPTS + 1)

    def forward(self, concepts: Tensor) -> Tensor:
        """Logits of the words at every place."""
        return self.head(self.trunk(concepts))


class Grammar(nn.Module):
    """Which concept each place attends to."""

    def __init__(self) -> None:
        super().__init__()
        self.places = nn.Parameter(0.1 * torch.randn(N_PLACES, len(ROLES) + 1))
        self.concepts = nn.Embedding(N_CONCEPTS + 1, WIDTH)

    def forward(self, concepts: Tensor) -> Tensor:
        """Representations of the places; every sentence has the particle as its last concept."""
        particle = torch.full_like(concepts[:, :1], N_CONCEPTS)
        values = self.concepts(torch.cat([concepts, particle], dim=1))  # sentence slot feature
        return self.places.softmax(dim=1) @ values


def sentences(count: int, generator: torch.Generator) -> Tensor:
    """Random concepts."""
    offsets = np.cumsum([0, *ROLES[:-1]])
    columns = [
        offset + torch.randint(size, (count,), generator=generator)
        for offset, size in zip(offsets, ROLES, strict=True)
    ]
    return torch.stack(columns, dim=1)


def translate(concepts: Tensor, grammar: Tensor, vocabulary: Tensor) -> Tensor:
    """The words of the sentences: those of the concepts, in the order of the grammar."""
    particle = torch.full_like(concepts[:, :1], N_CONCEPTS)
    return vocabulary[torch.cat([concepts, particle], dim=1)][:, grammar]


def pretrain(grammar: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
    """The trunk after training on two languages, each with its own head."""
    trunk = nn.Sequential(Grammar())
    heads = [nn.Linear(WIDTH, N_CONCEPTS + 1) for _ in range(2)]
    words = [torch.randperm(N_CONCEPTS + 1, generator=generator) for _ in heads]
    parameters = [p for module in (trunk, *heads) for p in module.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=0.01)
    for _ in range(2 * STEPS):
        optimizer.zero_grad()
        for head, vocabulary in zip(heads, words, strict=True):
            batch = sentences(64, generator)
            target = translate(batch, grammar, vocabulary)
            cross_entropy(head(trunk(batch)).flatten(0, 1), target.flatten()).backward()
        optimizer.step()
    return trunk.state_dict()


def accuracy(
    trunk: dict[str, Tensor] | None, n_sentences: int, grammar: Tensor, seed: int
) -> float:
    """The share of right words in new sentences, after training on a few."""
    generator = torch.Generator().manual_seed(seed)
    vocabulary = torch.randperm(N_CONCEPTS + 1, generator=generator)
    known, new = sentences(max(SIZES), generator)[:n_sentences], sentences(TEST, generator)
    torch.manual_seed(seed)
    model = Translator()
    if trunk is not None:
        model.trunk.load_state_dict(trunk)
    tuning = FineTuning(model, FullFineTuning(), STEPS)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    tuning.attach(optimizer)
    target = translate(known, grammar, vocabulary)
    for epoch in range(STEPS):
        tuning.begin_epoch(epoch)
        optimizer.zero_grad()
        cross_entropy(model(known).flatten(0, 1), target.flatten()).backward()
        optimizer.step()
    with torch.no_grad():
        return float((model(new).argmax(2) == translate(new, grammar, vocabulary)).float().mean())


def measure(replicates: int) -> pd.DataFrame:
    """One row per replicate, start and number of sentences."""
    rows: list[dict[str, object]] = []
    for seed in range(replicates):
        generator = torch.Generator().manual_seed(1000 + seed)
        torch.manual_seed(1000 + seed)
        grammar, other = (torch.randperm(N_PLACES, generator=generator) for _ in range(2))
        starts = {
            "knows the grammar": pretrain(grammar, generator),
            "wrong grammar": pretrain(other, generator),
            "from scratch": None,
        }
        rows += [
            {
                "replicate": seed,
                "start": start,
                "sentences": size,
                "accuracy": accuracy(trunk, size, grammar, seed),
            }
            for start, trunk in starts.items()
            for size in SIZES
        ]
        print(f"replicate {seed}", flush=True)
    return pd.DataFrame(rows)


def needed(curve: pd.Series, level: float) -> float:
    """Sentences at which the curve first reaches this accuracy, interpolated in their logarithm."""
    above = np.flatnonzero(curve.to_numpy() >= level)
    if not len(above):
        return np.nan
    last = int(above[0])
    if last == 0:
        return float(curve.index[0])
    low, high = curve.iloc[last - 1], curve.iloc[last]
    logs = np.log(curve.index.to_numpy(float))
    part = (level - low) / (high - low)
    return float(np.exp(logs[last - 1] + part * (logs[last] - logs[last - 1])))


def plot(percent: pd.DataFrame, level: float, path: Path) -> None:
    """Right words by number of sentences, one line per start, with 95 % t intervals."""
    figure, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
    for start, column in percent.items():
        curve = column.groupby("sentences").apply(interval).unstack()
        axes.errorbar(curve.index, curve["mean"], curve["half"], marker="o", capsize=3, label=start)
    axes.axhline(100 * level, color="grey", linewidth=0.8)
    axes.set_xscale("log", base=2)
    axes.set_xticks(SIZES, [str(size) for size in SIZES])
    axes.set(xlabel="sentences of the third language", ylabel="right words in new sentences, %")
    axes.legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--replicates", type=int, default=10)
    parser.add_argument("--level", type=float, default=0.8, help="accuracy to reach")
    parser.add_argument("--out", type=Path, default=Path("reports/fewshot/translation"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    table = measure(arguments.replicates)
    arguments.out.mkdir(parents=True, exist_ok=True)
    table.round(4).to_csv(arguments.out / "translation.csv", index=False)
    percent = 100 * table.pivot_table("accuracy", ["sentences", "replicate"], "start", sort=False)
    shown = percent.groupby("sentences").agg(
        lambda column: "{:.1f} ± {:.1f}".format(*interval(column)[["mean", "half"]])
    )
    curves = percent.groupby("sentences").mean() / 100
    counts = [f"{start} {needed(curve, arguments.level):.1f}" for start, curve in curves.items()]
    text = (
        f"Right words in new sentences, in %, with 95 % t intervals over {arguments.replicates} "
        f"replicates:\n\n{markdown(shown.reset_index())}\n\n"
        f"Sentences needed for {arguments.level:.0%} right words: {', '.join(counts)}."
    )
    print(text)
    plot(percent, arguments.level, arguments.out / "words.png")
    text += "\n\n![Right words by number of known sentences](words.png)"
    page = arguments.out / "README.md"
    marker = "<!-- made by a script from here on -->"
    head = page.read_text().split(marker)[0] if page.exists() else "# Translation\n\n"
    page.write_text(f"{head}{marker}\n\n{text}\n")


if __name__ == "__main__":
    main()
