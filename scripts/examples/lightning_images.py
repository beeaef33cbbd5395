"""Which questions about images on disk should share a network: your own Lightning DataModule.

python scripts/examples/lightning_images.py ../shared/data/images/mnist
"""

import gzip
import logging
import sys
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.utils.data import DataLoader, TensorDataset

import affinity

QUESTIONS = {
    "odd": lambda digit, image: digit % 2 == 1,
    "at least 5": lambda digit, image: digit >= 5,
    "prime": lambda digit, image: np.isin(digit, [2, 3, 5, 7]),
    "loop": lambda digit, image: np.isin(digit, [0, 6, 8, 9]),
    "heavy": lambda digit, image: image.mean((1, 2)) > image.mean(),
}


class Images(pl.LightningDataModule):
    def __init__(self, folder, tasks, seed):
        super().__init__()
        read = lambda name, skip: np.frombuffer(
            gzip.open(Path(folder) / name).read()[skip:], np.uint8
        )
        pixels = read("train-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28)[:8000] / 255
        digits = read("train-labels-idx1-ubyte.gz", 8)[:8000]
        labels = np.stack([QUESTIONS[task](digits, pixels) for task in tasks], 1)
        rows = TensorDataset(torch.tensor(pixels).float()[:, None], torch.tensor(labels).float())
        order = np.random.default_rng(seed).permutation(5000)  # rows from 5,000 on are test rows
        self.seed, self.parts = (
            seed,
            [
                torch.utils.data.Subset(rows, part)
                for part in (order[:2000], order[2000:], range(5000, 8000))
            ],
        )

    def train_dataloader(self):
        random = torch.Generator().manual_seed(self.seed)
        return DataLoader(self.parts[0], batch_size=64, shuffle=True, generator=random)


class Network(pl.LightningModule):
    def __init__(self, n_tasks):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 8, 5, stride=2), nn.ReLU(), nn.Conv2d(8, 16, 5, stride=2), nn.ReLU(),
            nn.Flatten(), nn.Linear(256, 32), nn.ReLU(), nn.Linear(32, n_tasks),
        )  # fmt: skip

    def training_step(self, batch, _):
        return binary_cross_entropy_with_logits(self.layers(batch[0]), batch[1])

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=2e-3)


def train(tasks, seed):
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    pl.seed_everything(seed, verbose=False)
    torch.set_num_threads(1)
    images, network = Images(sys.argv[1], tasks, seed), Network(len(tasks))
    quiet = dict.fromkeys(["logger", "enable_progress_bar", "enable_model_summary"], False)
    pl.Trainer(max_epochs=3, accelerator="cpu", enable_checkpointing=False, **quiet).fit(
        network, images
    )

    def accuracy(part):
        inputs, labels = next(iter(DataLoader(part, batch_size=len(part))))
        with torch.no_grad():
            right = (network.layers(inputs) > 0) == (labels > 0.5)
        return dict(zip(tasks, right.double().mean(0).tolist(), strict=True))

    return affinity.Scores(validation=accuracy(images.parts[1]), test=accuracy(images.parts[2]))


if __name__ == "__main__":
    study = affinity.Study(
        "runs/images", tasks=dict.fromkeys(QUESTIONS, "maximize"), budget=2, trainings=15
    )
    study.run(train, workers=2)
    audit = study.audit(train, replicates=4, workers=2)
    affinity.write_report(audit, "runs/images/report.html")
