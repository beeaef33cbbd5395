"""Which questions about images on disk should share a network? With your own DataModule."""

import gzip
import sys

import lightning.pytorch as pl
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Subset, TensorDataset

import affinity

TASKS = {
    "odd": [1, 3, 5, 7, 9],
    "large": [5, 6, 7, 8, 9],
    "prime": [2, 3, 5, 7],
    "loop": [0, 6, 8, 9],
}


class Images(pl.LightningDataModule):
    def __init__(self, folder, tasks, seed):
        super().__init__()
        with gzip.open(f"{folder}/train-images-idx3-ubyte.gz") as file:
            images = torch.tensor(np.frombuffer(file.read()[16:], np.uint8)[: 8000 * 784] / 255)
        with gzip.open(f"{folder}/train-labels-idx1-ubyte.gz") as file:
            digits = np.frombuffer(file.read()[8:], np.uint8)[:8000]
        labels = np.stack([np.isin(digits, TASKS[task]) for task in tasks], axis=1)
        rows = TensorDataset(images.float().view(-1, 1, 28, 28), torch.tensor(labels).float())
        order = np.random.default_rng(seed).permutation(5000)
        parts = order[:2000], order[2000:], range(5000, 8000)  # test rows: the same for all seeds
        self.training, self.validation, self.test = (Subset(rows, part) for part in parts)

    def train_dataloader(self):
        return DataLoader(self.training, batch_size=64, shuffle=True)


class Network(pl.LightningModule):
    def __init__(self, n_tasks):
        super().__init__()
        trunk = nn.Conv2d(1, 8, 5, stride=2), nn.ReLU(), nn.Conv2d(8, 16, 5, stride=2), nn.ReLU()
        self.layers = nn.Sequential(*trunk, nn.Flatten(), nn.Linear(256, n_tasks))

    def training_step(self, batch, _):
        return nn.functional.binary_cross_entropy_with_logits(self.layers(batch[0]), batch[1])

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=2e-3)


def train(tasks, seed):
    pl.seed_everything(seed, verbose=False)
    images, network = Images(sys.argv[1], tasks, seed), Network(len(tasks))
    quiet = dict.fromkeys(["logger", "enable_progress_bar", "enable_checkpointing"], False)
    pl.Trainer(max_epochs=3, accelerator="cpu", **quiet).fit(network, images)

    def accuracy(part):
        inputs, labels = part.dataset[part.indices]
        correct = (network.layers(inputs).detach() > 0) == (labels > 0.5)
        return dict(zip(tasks, correct.double().mean(dim=0).tolist(), strict=True))

    return affinity.Scores(validation=accuracy(images.validation), test=accuracy(images.test))


if __name__ == "__main__":
    scores = dict.fromkeys(TASKS, "maximize")
    study = affinity.Study("runs/images", tasks=scores, budget=2, trainings=12)
    study.run(train, workers=2)
    audit = study.audit(train, replicates=4, workers=2)
    affinity.write_report(audit, "runs/images/report.html")
