"""Train chemprop on some endpoints of a table of molecules: `--tasks A B --seed 0 --out FILE`."""

import argparse
import json
import logging
import warnings

import numpy as np
import pandas as pd
import torch
from chemprop import data, models, nn
from lightning import pytorch as pl

parser = argparse.ArgumentParser()
parser.add_argument("--tasks", nargs="+", required=True)
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--out", required=True)
parser.add_argument("--data", required=True)
parser.add_argument("--rows", type=int, default=1500)
parser.add_argument("--epochs", type=int, default=10)
options = parser.parse_args()
warnings.simplefilter("ignore")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
torch.set_num_threads(1)
pl.seed_everything(options.seed, verbose=False)

table = pd.read_csv(options.data).sample(options.rows, random_state=0)
# concentrations on a logarithmic scale
values = table[options.tasks].apply(lambda c: c if c.name == "LogD" else np.log10(c.clip(0) + 1))
molecules = [
    data.MoleculeDatapoint.from_smi(smiles, row)
    for smiles, row in zip(table["SMILES"], values.to_numpy(float), strict=True)
]
test, others = np.split(np.arange(len(molecules)), [len(molecules) // 4])  # the same for all seeds
others = np.random.default_rng(options.seed).permutation(others)
training, validation = np.split(others, [int(0.8 * len(others))])
is_known = values.notna().any(axis=1).to_numpy()  # a batch without any label has no loss
training = training[is_known[training]]

fitted = data.MoleculeDataset([molecules[row] for row in training])
scale = nn.UnscaleTransform.from_standard_scaler(fitted.normalize_targets())
head = nn.RegressionFFN(len(options.tasks), input_dim=64, hidden_dim=64, output_transform=scale)
model = models.MPNN(nn.BondMessagePassing(d_h=64), nn.MeanAggregation(), head)
quiet = dict.fromkeys(["logger", "enable_progress_bar", "enable_model_summary"], False)
trainer = pl.Trainer(
    max_epochs=options.epochs, enable_checkpointing=False, accelerator="cpu", **quiet
)
trainer.fit(model, data.build_dataloader(fitted, batch_size=64, seed=options.seed))


def errors(rows):
    """Mean absolute error per task, over the molecules that were measured."""
    part = data.MoleculeDataset([molecules[row] for row in rows])
    predicted = torch.cat(trainer.predict(model, data.build_dataloader(part, shuffle=False)))
    absolute = np.abs(predicted.numpy() - values.to_numpy(float)[rows])
    return dict(zip(options.tasks, np.nanmean(absolute, axis=0).tolist(), strict=True))


with open(options.out, "w") as file:
    json.dump({"validation": errors(validation), "test": errors(test)}, file)
