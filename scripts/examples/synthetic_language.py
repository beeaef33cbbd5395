"""A small decoder and data sets with known relations: what fine-tuning on mixtures is tried on.

The decoder is pretrained in about a minute on one core: on copying, counting, sentences of three
invented languages, and prompts of the data sets with answers of other rows, so that it knows what
answers look like. Each data set is a function from a random generator to a row: a prompt, and the
answer that is to be learned. Related are the two translations (one grammar, other words); two
additions and two ways to sort contradict each other (the same prompts, other answers).
"""

import random
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

PAD, BEGIN, IS = 0, 1, 2
MARKS = {mark: 3 + number for number, mark in enumerate("+-rsdlt12")}
DIGITS = range(12, 22)
FIRST, SECOND, THIRD = (range(start, start + 16) for start in (22, 38, 54))
"""The words of three languages: 4 adjectives, 6 nouns, 6 verbs each."""
N_TOKENS, LENGTH = 70, 14

Row = tuple[list[int], list[int]]
"""A prompt and its answer."""


def _digits(draw: random.Random, count: int = 5) -> list[int]:
    return [draw.choice(DIGITS) for _ in range(count)]


def _arithmetic(draw: random.Random, mark: str, modulus: int) -> Row:
    a, b = draw.randrange(10), draw.randrange(10)
    result = (a + b if mark == "+" else a - b) % modulus
    return [DIGITS[a], MARKS[mark], DIGITS[b]], [DIGITS[result]]


def _sentence(draw: random.Random, words: range) -> list[int]:
    """Adjective, noun, adjective, noun, verb."""
    adjectives, nouns, verbs = words[:4], words[4:10], words[10:]
    kinds = (adjectives, nouns, adjectives, nouns, verbs)
    return [draw.choice(kind) for kind in kinds]


def _translation(draw: random.Random, words: range, mark: str) -> Row:
    """Into the third language, which has the noun first and the verb in the middle."""
    sentence = _sentence(draw, words)
    adjective, noun, other, object_, verb = (THIRD[words.index(word)] for word in sentence)
    return [MARKS[mark], *sentence], [noun, adjective, verb, object_, other]


def _over_digits(mark: str, answer: Callable[[list[int]], list[int]]):
    def row(draw: random.Random) -> Row:
        digits = _digits(draw)
        return [MARKS[mark], *digits], answer(digits)

    return row


DATA_SETS: dict[str, Callable[[random.Random], Row]] = {
    "reverse": _over_digits("r", lambda digits: digits[::-1]),
    "sort": _over_digits("s", sorted),
    "add mod 7": lambda draw: _arithmetic(draw, "+", 7),
    "add mod 10": lambda draw: _arithmetic(draw, "+", 10),
    "translate 1": lambda draw: _translation(draw, FIRST, "1"),
    "translate 2": lambda draw: _translation(draw, SECOND, "2"),
    "sort down": _over_digits("s", lambda digits: sorted(digits, reverse=True)),
    "subtract mod 10": lambda draw: _arithmetic(draw, "-", 10),
    "subtract mod 7": lambda draw: _arithmetic(draw, "-", 7),
    "double": _over_digits("d", lambda digits: [d for d in digits[:3] for _ in range(2)]),
    "last": _over_digits("l", lambda digits: digits[-1:]),
    "shift": _over_digits("t", lambda digits: [*digits[1:], digits[0]]),
}


def _pretraining_row(draw: random.Random) -> Row:
    """Copying, counting, sentences; prompts of the data sets, each with another row's answer."""
    kind = draw.randrange(6)
    if kind >= 4:
        data = DATA_SETS[draw.choice(list(DATA_SETS))]
        return data(draw)[0], data(draw)[1]
    if kind == 0:
        digits = _digits(draw)
        return digits, digits
    if kind == 1:
        start = draw.randrange(10)
        return [DIGITS[start]], [DIGITS[(start + step) % 10] for step in range(1, 6)]
    if kind == 2:
        sentence = _sentence(draw, draw.choice((FIRST, SECOND)))
        return sentence[:1], sentence[1:]
    adjective, noun, other, object_, verb = _sentence(draw, THIRD)
    return [noun], [adjective, verb, object_, other]


def batch_of(rows: Sequence[Row]) -> dict[str, Tensor]:
    """Tokens and labels; the prompt is masked (-100)."""
    tokens = torch.full((len(rows), LENGTH), PAD)
    labels = torch.full((len(rows), LENGTH), -100)
    for row, (prompt, answer) in enumerate(rows):
        start, text = len(prompt) + 2, [BEGIN, *prompt, IS, *answer]
        tokens[row, : len(text)] = torch.tensor(text)
        labels[row, start : len(text)] = torch.tensor(answer)
    return {"input_ids": tokens, "labels": labels}


def rows_of(name: str, count: int, seed: object) -> list[Row]:
    draw = random.Random(f"{name} {seed}")
    return [DATA_SETS[name](draw) for _ in range(count)]


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before, self.after = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.mix = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.widen, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, hidden: Tensor) -> Tensor:
        rows, length, width = hidden.shape
        parts = self.qkv(self.before(hidden)).view(rows, length, 3, self.heads, -1)
        q, k, v = parts.permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        hidden = hidden + self.mix(mixed.transpose(1, 2).reshape(rows, length, width))
        return hidden + self.narrow(functional.gelu(self.widen(self.after(hidden))))


class Decoder(nn.Module):
    """A decoder; with labels it also returns the mean loss of the next token, as Transformers."""

    def __init__(self, width: int = 64, layers: int = 2, heads: int = 4) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(N_TOKENS, width), nn.Embedding(LENGTH, width)
        nn.init.normal_(self.tokens.weight, std=0.1)
        nn.init.normal_(self.places.weight, std=0.1)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm, self.out = nn.LayerNorm(width), nn.Linear(width, N_TOKENS)

    def forward(self, input_ids: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        hidden = self.tokens(input_ids) + self.places.weight[: input_ids.shape[1]]
        for block in self.blocks:
            hidden = block(hidden)
        logits = self.out(self.norm(hidden))
        if labels is None:
            return {"logits": logits}
        loss = functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
        return {"loss": loss, "logits": logits}


class LoRA(nn.Module):
    """A frozen linear layer, plus the product of two thin matrices."""

    def __init__(self, layer: nn.Linear, rank: int) -> None:
        super().__init__()
        self.layer = layer.requires_grad_(False)
        self.lora_a = nn.Parameter(torch.randn(rank, layer.in_features) / layer.in_features**0.5)
        self.lora_b = nn.Parameter(torch.zeros(layer.out_features, rank))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.layer(inputs) + inputs @ self.lora_a.T @ self.lora_b.T


def add_lora(model: Decoder, rank: int = 8) -> Decoder:
    """Freeze the decoder, and add adapters to the layers of its blocks."""
    model.requires_grad_(False)
    for block in model.blocks:
        for name in ("qkv", "mix", "widen", "narrow"):
            setattr(block, name, LoRA(getattr(block, name), rank))
    return model


def pretrained(steps: int = 1500, seed: int = 0) -> Decoder:
    """About a minute on one core."""
    torch.manual_seed(seed)
    model, draw = Decoder(), random.Random(seed)
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 2e-3 * (1 - step / steps)
        batch = batch_of([_pretraining_row(draw) for _ in range(32)])
        optimizer.zero_grad()
        model(**batch)["loss"].backward()
        optimizer.step()
    return model
