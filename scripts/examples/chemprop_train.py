"""Train chemprop on some endpoints of a table of molecules, for `affinity study run --command`.

affinity study create runs/admet --tasks "$(python scripts/examples/chemprop_train.py --names)" \
    --budget 3 --trainings 27
affinity study run runs/admet --command \
    "python scripts/examples/chemprop_train.py --tasks {tasks} --seed {seed} --out {out}"
"""

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
parser.add_argument("--tasks", nargs="+", default=[])
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--out")
parser.add_argument("--data", default="../shared/data/tables/expansionrx.csv.gz")
parser.add_argument("--rows", type=int, default=2500)
parser.add_argument("--epochs", type=int, default=15)
parser.add_argument("--names", action="store_true", help="print all tasks and stop")
options = parser.parse_args()

torch.set_num_threads(1)
warnings.simplefilter("ignore")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
table = pd.read_csv(options.data).sample(options.rows, random_state=0)
endpoints = table.columns[2:]
if options.names:
    print(",".join(f"{name}:minimize" for name in endpoints))
    raise SystemExit

tasks = [name for name in endpoints if name in options.tasks]
logarithms = table[tasks].apply(lambda c: c if c.name == "LogD" else np.log10(c.clip(lower=0) + 1))
molecules = [
    data.MoleculeDatapoint.from_smi(smiles, values)
    for smiles, values in zip(table["SMILES"], logarithms.to_numpy(float), strict=True)
]
n_test = len(molecules) // 4  # the test rows are the same for every seed
order = np.random.default_rng(options.seed).permutation(np.arange(n_test, len(molecules)))
n_training = int(0.8 * len(order))
training = data.MoleculeDataset([molecules[row] for row in order[:n_training]])
scaler = training.normalize_targets()
pl.seed_everything(options.seed, verbose=False)
model = models.MPNN(
    nn.BondMessagePassing(d_h=64),
    nn.MeanAggregation(),
    nn.RegressionFFN(
        n_tasks=len(tasks),
        input_dim=64,
        hidden_dim=64,
        output_transform=nn.UnscaleTransform.from_standard_scaler(scaler),
    ),
)
quiet = dict.fromkeys(["logger", "enable_progress_bar", "enable_model_summary"], False)
trainer = pl.Trainer(
    max_epochs=options.epochs, enable_checkpointing=False, accelerator="cpu", **quiet
)
trainer.fit(model, data.build_dataloader(training, batch_size=64, seed=options.seed))


def mean_absolute_errors(rows):
    part = data.MoleculeDataset([molecules[row] for row in rows])
    predicted = torch.cat(trainer.predict(model, data.build_dataloader(part, shuffle=False)))
    errors = np.abs(predicted.numpy() - np.stack([molecules[row].y for row in rows]))
    return dict(zip(tasks, np.nanmean(errors, axis=0).tolist(), strict=True))


scores = {
    "validation": mean_absolute_errors(order[n_training:]),
    "test": mean_absolute_errors(range(n_test)),
}
with open(options.out, "w") as file:
    json.dump(scores, file)
