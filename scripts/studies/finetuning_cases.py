"""Two cases for the study of mixtures: a decoder on invented data sets, a convolution on MNIST.

In a replicate, rows and seeds are new; the pretrained network is the same. Every data set of a
group is read equally often, so larger groups train longer.
"""

import random
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._pytree import tree_map

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts/examples"))
import synthetic_language as language  # noqa: E402
from few_shot_mnist import trunk  # noqa: E402
from mnist_shifts import SIDE  # noqa: E402
from mnist_shifts import images as flat_images  # noqa: E402

REPORT, CACHE = ROOT / "reports/finetuning", ROOT / "run/finetuning"
N_ROWS, N_HELD_OUT = 128, 256

Batch = Any
"""Rows of a data set as tensors: a mapping for the decoder, inputs and labels for images."""


@dataclass(frozen=True)
class Case:
    """A pretrained network and six data sets to fine-tune it on.

    Args:
        names: The data sets.
        starts: What is trained from where: steps per data set, and the learning rate. `joint`
            starts from a network that learned all data sets from other rows, so that fine-tuning
            stays near it.
        merged: The starts for which merged networks are measured, too.
        loss: The loss by its name in `affinity.linearize`.
        replicates: Their number.
        report: Where tables go.
        untrained: Makes a network.
        pretrain: Makes a pretrained one.
        adapt: Adds adapters to it.
        rows: Rows of a data set, by name, number and key: the same key gives the same rows.
        tune: Trains a network on rows: steps, learning rate, seed.
        loss_on: The mean loss of a network on a batch.
    """

    names: tuple[str, ...]
    starts: Mapping[str, tuple[int, float]]
    merged: tuple[str, ...]
    loss: str
    replicates: int
    report: Path
    untrained: Callable[[], nn.Module]
    pretrain: Callable[[], nn.Module]
    adapt: Callable[[nn.Module], nn.Module]
    rows: Callable[[str, int, object], Batch]
    tune: Callable[[nn.Module, Batch, int, float, int], None]
    loss_on: Callable[[nn.Module, Batch], Tensor]

    def model_of(self, start: str, replicate: int) -> nn.Module:
        torch.manual_seed(1000 + replicate)
        if start.startswith("scratch"):
            return self.untrained()
        model = self._kept("pretrained", self.pretrain)
        torch.manual_seed(1000 + replicate)
        if start.startswith("joint"):
            return self._kept("joint", self._jointly_trained)
        return self.adapt(model) if start.endswith("LoRA") else model

    def training(self, replicate: int) -> dict[str, Batch]:
        return {name: self.rows(name, N_ROWS, ("train", replicate)) for name in self.names}

    def held_out(self, replicate: int, part: str) -> dict[str, Batch]:
        return {name: self.rows(name, N_HELD_OUT, (part, replicate)) for name in self.names}

    def tuned(self, start: str, replicate: int, group: Collection[str]) -> nn.Module:
        model, rows = self.model_of(start, replicate), self.training(replicate)
        steps, rate = self.starts[start]
        together = joined(rows[name] for name in group)
        self.tune(model, together, steps * len(group), rate, replicate)
        return model

    def _jointly_trained(self) -> nn.Module:
        model, together = (
            self._kept("pretrained", self.pretrain),
            joined(self.rows(name, N_ROWS, "joint") for name in self.names),
        )
        self.tune(model, together, 60 * len(self.names), 1e-3, 0)
        return model

    def _kept(self, name: str, make: Callable[[], nn.Module]) -> nn.Module:
        file = CACHE / self.loss / f"{name}.pt"
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            torch.save(make().state_dict(), file)
        model = self.untrained()
        model.load_state_dict(torch.load(file))
        return model


def joined(batches: Any) -> Batch:
    """Rows of several batches in one."""
    first, *others = batches
    return tree_map(lambda *parts: torch.cat(parts), first, *others)


def taken(batch: Batch, rows: Tensor | slice) -> Batch:
    """Some rows of a batch."""
    return tree_map(lambda part: part[rows], batch)


def size_of(batch: Batch) -> int:
    """The number of rows."""
    return len(next(iter(batch.values() if isinstance(batch, dict) else batch)))


def tune(case_loss: Callable[[nn.Module, Batch], Tensor], size: int = 16):
    """Training on rows that are drawn at random, with Adam and a falling learning rate."""

    def train(model: nn.Module, rows: Batch, steps: int, rate: float, seed: int) -> None:
        draw = random.Random(seed)
        optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], rate)
        for step in range(steps):
            optimizer.param_groups[0]["lr"] = rate * (1 - step / steps)
            at = torch.tensor([draw.randrange(size_of(rows)) for _ in range(size)])
            optimizer.zero_grad()
            case_loss(model, taken(rows, at)).backward()
            optimizer.step()

    return train


def _decoder_loss(model: nn.Module, batch: Batch) -> Tensor:
    return model(**batch)["loss"]


LANGUAGE = Case(
    names=tuple(language.DATA_SETS)[:6],
    starts={
        "pretrained, LoRA": (60, 3e-3),
        "pretrained, all": (60, 1e-3),
        "scratch, all": (60, 2e-3),
        "joint, all": (20, 3e-4),
    },
    merged=("pretrained, LoRA", "pretrained, all"),
    loss="next token",
    replicates=2,
    report=REPORT,
    untrained=language.Decoder,
    pretrain=language.pretrained,
    adapt=language.add_lora,  # pyright: ignore[reportArgumentType]
    rows=lambda name, count, key: language.batch_of(language.rows_of(name, count, key)),
    tune=tune(_decoder_loss),
    loss_on=_decoder_loss,
)


def _noisy(pixels: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(len(pixels))
    return pixels + 0.5 * torch.randn(pixels.shape, generator=generator)


def _inverted(pixels: Tensor) -> Tensor:
    return 1 - pixels


VARIATIONS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "clean": (lambda pixels: pixels, lambda digits: digits),
    "noisy": (_noisy, lambda digits: digits),
    "turned": (lambda pixels: pixels.rot90(1, (2, 3)), lambda digits: digits),
    "inverted": (_inverted, lambda digits: digits),
    "nine minus": (lambda pixels: pixels, lambda digits: 9 - digits),
    "nine minus, inverted": (_inverted, lambda digits: 9 - digits),
}
"""What is done to images, and the rule for their labels. The last two contradict "clean" and
"inverted": the same images, other labels."""


PARTS = {
    "train": range(15_000),
    "validation": range(15_000, 30_000),
    "joint": range(30_000, 40_000),
    "pretraining": range(40_000, 60_000),
    "test": range(10_000),  # of the test file
}
"""Rows of the files with images."""


@cache
def images(part: str) -> tuple[Tensor, Tensor]:
    """Images ``[row 1 14 14]`` between 0 and 1, and their digits; of "train" or "t10k"."""
    pixels, digits = flat_images(part)
    return pixels.view(-1, 1, SIDE, SIDE), digits


def variation(name: str, count: int, key: object) -> tuple[Tensor, Tensor]:
    """Rows of a data set; no image is in two parts."""
    part = key[0] if isinstance(key, tuple) else key
    pixels, digits = images("t10k" if part == "test" else "train")
    rows = random.Random(f"{name} {key}").sample(PARTS[part], count)
    change, rule = VARIATIONS[name]
    return change(pixels[rows]), rule(digits[rows])


def convolution() -> nn.Module:
    return nn.Sequential(*trunk(), nn.Linear(512, 64), nn.ReLU(), nn.Linear(64, 10))


def _image_loss(model: nn.Module, batch: Batch) -> Tensor:
    return functional.cross_entropy(model(batch[0]), batch[1])


def pretrained_convolution() -> nn.Module:
    """Learns the digits 0 to 8 on 18,000 images; the class of 9 has never a row."""
    torch.manual_seed(0)
    model = convolution()
    pixels, digits = images("train")
    known = [row for row in PARTS["pretraining"] if digits[row] < 9]
    tune(_image_loss, size=64)(model, (pixels[known], digits[known]), 900, 2e-3, 0)
    return model


def _without_adapters(model: nn.Module) -> nn.Module:
    raise NotImplementedError("No start of this case has adapters.")


VISION = Case(
    names=tuple(VARIATIONS),
    starts={"pretrained, all": (40, 1e-3), "scratch, all": (40, 2e-3), "joint, all": (20, 3e-4)},
    merged=("pretrained, all",),
    loss="classes",
    replicates=3,
    report=REPORT / "vision",
    untrained=convolution,
    pretrain=pretrained_convolution,
    adapt=_without_adapters,
    rows=variation,
    tune=tune(_image_loss),
    loss_on=_image_loss,
)

CASES = {"language": LANGUAGE, "vision": VISION}
