"""Which questions about images on disk should share a network? With your own DataModule."""

import gzip
import sys

import lightning.pytorch as pl
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Subset, TensorDataset

import affinity

TASKS = {"odd": "13579", "large": "56789", "prime": "2357", "loop": "0689"}  # digits to find


class Images(pl.LightningDataModule):
    def __init__(self, folder, tasks, seed):
        super().__init__()
        with gzip.open(f"{folder}/train-images-idx3-ubyte.gz") as file:
            images = np.frombuffer(file.read()[16:], np.uint8)[: 8000 * 784].reshape(-1, 1, 28, 28)
        with gzip.open(f"{folder}/train-labels-idx1-ubyte.gz") as file:
            digits = np.frombuffer(file.read()[8:], np.uint8)[:8000].astype(str)
        labels = np.stack([np.isin(digits, list(TASKS[task])) for task in tasks], axis=1)
        self.rows = TensorDataset(torch.tensor(images / 255).float(), torch.tensor(labels).float())
        order = np.random.default_rng(seed).permutation(5000)  # test rows: the same for all seeds
        self.training, self.validation, self.test = order[:2000], order[2000:], np.r_[5000:8000]

    def train_dataloader(self):
        return DataLoader(Subset(self.rows, self.training), batch_size=64, shuffle=True)


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
    inputs, labels = images.rows.tensors
    is_right = ((network.layers(inputs).detach() > 0) == (labels > 0.5)).double()
    means = [is_right[part].mean(dim=0).tolist() for part in (images.validation, images.test)]
    return affinity.Scores(*(dict(zip(tasks, mean, strict=True)) for mean in means))


if __name__ == "__main__":
    study = affinity.Study("runs/images", dict.fromkeys(TASKS, "maximize"), budget=2, trainings=12)
    study.run(train, workers=2)
    affinity.write_report(study.audit(train, replicates=4, workers=2), "runs/images/report.html")
